# bash completion for firstlight-hub(8)

_firstlight_hub() {
  local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} act=${COMP_WORDS[2]} words=""
  COMPREPLY=()
  case ${COMP_WORDS[COMP_CWORD - 1]} in
    --dir)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
    --key-file | --ca)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    --scope) words="device:read device:update" ;;
    --host | --port | --workspace | --ready-fd | --public-url | --device | --label | --version | --percent | --tag | --halt-after | --at-once | --to | --broker) return ;;
    *)
      if [ "$COMP_CWORD" = 1 ]; then
        words="init serve key ca move rollout sign release-key backup --help --version"
      else
        case $verb,$act in
          init,*) words="--dir --host --port --workspace --key-file" ;;
          serve,*) words="--dir --host --port --plain-http-on-loopback --ready-fd --public-url --mqtt" ;;
          key,create) words="--dir --workspace --scope --device --label --key-file" ;;
          key,list | key,revoke | ca,new | ca,switch | ca,list) words="--dir" ;;
          key,*) words="create list revoke" ;;
          ca,*) words="new switch list" ;;
          move,*) words="--dir --to --cancel --ca --system-trust --broker --keep-brokers" ;;
          rollout,start) words="--dir --version --percent --tag --device --halt-after --at-once" ;;
          rollout,show) words="--dir --json" ;;
          rollout,widen) words="--dir --percent" ;;
          rollout,halt | rollout,resume | rollout,end | rollout,cancel) words="--dir" ;;
          rollout,*) words="start show widen halt resume end cancel" ;;
          sign,*) words="--dir" ;;
          release-key,*) words="--dir --new" ;;
          backup,*) words="--dir" ;;
        esac
        words="$words --help"
      fi
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _firstlight_hub firstlight-hub
