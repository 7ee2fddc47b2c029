# bash completion for firstlight(8)

_firstlight() {
  local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} act=${COMP_WORDS[2]} place state desk words=""
  place="--config --state-dir --runtime-dir" state="$place --proxy --proxy-auth-file"
  desk="--config --platform --hub --pin --ca-file --proxy --proxy-auth-file --workspace --api-key-file --key-file --json"
  COMPREPLY=()
  case ${COMP_WORDS[COMP_CWORD - 1]} in
    --config | --kernel-line | --ca-file | --proxy-auth-file | --api-key-file | --key-file)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    --state-dir | --runtime-dir | --top)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
    --transport) words="http mqtt websocket" ;;
    --credential) words="secret certificate" ;;
    --status) words="online offline unknown revoked" ;;
    --hub | --pin | --proxy | --patience | --wait-online | --knows-install-id | --workspace | --platform) return ;;
    --id | --type | --workflow-id | --tag | --like | --expires-within) return ;;
    *)
      if [ "$COMP_CWORD" = 1 ]; then
        words="enroll firstboot run status facts rotate upgrade reset device --help --version --debug"
      elif [ "$verb" = device ] && [ "$COMP_CWORD" = 2 ]; then
        words="create list show invite revoke rotate remove --help"
      else
        case $verb in
          enroll) words="$state --hub --pin --ca-file --transport --credential --patience --no-start --json" ;;
          firstboot) words="$state --top --kernel-line" ;;
          run) words=$state ;;
          status) words="$place --json --wait-online --knows-install-id" ;;
          facts) words="--config --json" ;;
          rotate) words="$state --patience --json" ;;
          upgrade) words="$state --id --allow-older --back --check --resume --wished --patience --json" ;;
          reset) words="$place --yes" ;;
          device)
            case $act in
              create) words="$desk --type --workflow-id --tag --offline --like --transport --credential" ;;
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
