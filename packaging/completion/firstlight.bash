# bash completion for firstlight(8)

_firstlight() {
  local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} act=${COMP_WORDS[2]} place state desk words=""
  place="--config --state-dir --runtime-dir" state="$place --proxy --proxy-auth-file"
  desk="--config --platform --hub --pin --ca-file --proxy --proxy-auth-file --workspace --api-key-file --key-file --api-key-keyring --base --extra --json"
  COMPREPLY=()
  case ${COMP_WORDS[COMP_CWORD - 1]} in
    --config | --bundle | --invitation | --image | --camera | --kernel-line | --ca-file | --proxy-auth-file | --api-key-file | --key-file)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    --state-dir | --runtime-dir | --hooks-dir | --top)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
    --png | --svg | --qr | --label | --font | --csv | --payload-file | --network | --output | --facts | --journal | --report)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    --stick | --boot)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
    --platform) words="hub roboflow huawei qubitro fleet all" ;;
    --sheet) words="a4-2x4 a4-2x7 a4-3x7 a4-3x8 a4-1x1 letter-2x3 letter-2x5 letter-2x7" ;;
    --transport) words="http mqtt websocket" ;;
    --credential) words="secret certificate" ;;
    --repeat) words="enrolled config-changed refused retired network" ;;
    --status) words="online offline unknown revoked" ;;
    --hub | --pin | --led | --proxy | --patience | --wait-online | --knows-install-id | --workspace | --base | --extra | --field) return ;;
    --only | --lines | --since | --id | --type | --workflow-id | --tag | --like | --expires-within | --serial | --split | --device) return ;;
    *)
      if [ "$COMP_CWORD" = 1 ]; then
        words="enroll firstboot scan provision run status doctor logs facts network hooks receipt rotate upgrade reset device --help --version --debug"
      elif [ "$verb" = device ] && [ "$COMP_CWORD" = 2 ]; then
        words="create list show invite qr labels stick receipt revoke rotate remove reset-fingerprint --help"
      else
        case $verb in
          enroll) words="$state --file --hub --pin --ca-file --transport --credential --patience --no-start --json" ;;
          firstboot) words="$state --top --kernel-line" ;;
          scan) words="$place --image --camera --stdin --patience --no-start --json" ;;
          provision) words="$place --led" ;;
          network) words="$place --apply --remove --json" ;;
          hooks) words="$place --hooks-dir --run --repeat --wait --json" ;;
          run) words=$state ;;
          status) words="$place --json --wait-online --knows-install-id" ;;
          doctor) words="$state --hub --pin --ca-file --invitation --offline --only --bundle --json" ;;
          logs) words="--config --lines --since --follow --errors --json" ;;
          facts) words="--config --json" ;;
          receipt) words="$place --png --svg --text --stick --json" ;;
          rotate) words="$state --patience --json" ;;
          upgrade) words="$state --id --allow-older --back --check --resume --wished --patience --json" ;;
          reset) words="$place --yes" ;;
          device)
            case $act in
              create)
                words="$desk --field --csv --facts --boot --journal --report --type --workflow-id --tag --offline --like --transport --credential"
                words="$words --serial --network --qr --label --stick --sheet --font"
                ;;
              qr) words="$desk --payload-file --png --svg --terminal --split --serial --network" ;;
              labels) words="$desk --device --output --sheet --font --serial --network" ;;
              stick) words="$desk --device --output --serial --network" ;;
              receipt) words="$desk --image" ;;
              list) words="$desk --status --transport --expires-within" ;;
              *) words=$desk ;;
            esac
            ;;
        esac
        words="$words --help"
      fi
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _firstlight firstlight
