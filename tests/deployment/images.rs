//! A stand-in for Docker and a repository of images whose tags never move, which scripts can compute digests beside.

/// An image is a file `pushed-...` that holds its labels, and its digest follows from them. `away`: no image can be
/// pulled. `mutable`: what the repository says of its tags.
pub(crate) const IMAGES: &str = r#"
find() { PATH=/usr/bin:/bin command find "$@"; }
sort() { PATH=/usr/bin:/bin command sort "$@"; }
sha256sum() { PATH=/usr/bin:/bin command sha256sum "$@"; }

cloud_digest() { local sum; sum="$(sha256sum <<< "$1")"; echo "sha256:${sum%% *}"; }

cloud_docker() {
    local word labels='' image="${*: -1}"
    for word in "$@"; do
        case "$word" in
            --label=*) labels+="${word#*=} " ;;
            --tag=*) image="${word#*=}" ;;
        esac
    done
    image="${image//\//-}"
    case "$2" in
        pull) [[ ! -e $CLOUD/away && -e $CLOUD/pushed-$image ]] ;;
        build) printf '%s' "$labels" > "$CLOUD/built-$image" ;;
        push) [[ ! -e $CLOUD/pushed-$image ]] && printf '%s' "$(< "$CLOUD/built-$image")" > "$CLOUD/pushed-$image" ;;
        inspect) cloud_labels "$(< "$CLOUD/pushed-${3//\//-}")" ;;
        buildx) cloud_digest "$5" ;;
    esac
}

cloud_labels() {
    local label revision='' inputs=''
    for label in $1; do
        case "$label" in
            org.opencontainers.image.revision=*) revision="${label#*=}" ;;
            pulse.inputs=*) inputs="${label#*=}" ;;
        esac
    done
    echo "$revision $inputs"
}

cloud_tags() {
    local word tag='' image="${6//\//-}"
    for word in "$@"; do
        if [[ $word == --filter=tag* ]]; then tag="${word##*/}" && tag="${tag%\$}"; fi
    done
    [[ ! -e $CLOUD/pushed-$image:$tag ]] || cloud_digest "$(< "$CLOUD/pushed-$image:$tag")"
}
"#;
