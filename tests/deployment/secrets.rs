//! A stand-in for one user's secret, and for the job that syncs that user with it.

/// The versions are files of the cloud's directory, `version-1` and so on, that hold their payloads; a destroyed one
/// holds nothing, and is named in `destroyed`. What else it knows:
///
/// - `latest`: what `latest` will be each time that it is asked for, `n` for the newest version and `o` for the one
///   before; `*` after the last one stands for ever. At the end, or without the file, it is the newest.
/// - `refused`: the versions whose keys Alpaca refuses.
/// - `full`: no version is added. `torn`: what is added loses its last character. `late`: somebody adds
///   one whenever versions are listed.
///
/// `events` has a line for each thing that happened: `add 2`, `latest 1`, `sync 1`, `snapshot 1`, `destroy 1`.
pub(crate) const SECRET_MANAGER: &str = r#"
cloud_note() { echo "$*" >> "$CLOUD/events"; }

cloud_newest() {
    local version=0
    while [[ -e $CLOUD/version-$(( version + 1 )) ]]; do version=$(( version + 1 )); done
    echo "$version"
}

cloud_is_destroyed() { [[ -e $CLOUD/destroyed && " $(< "$CLOUD/destroyed") " == *[[:space:]]"$1"[[:space:]]* ]]; }

cloud_latest() {
    local plan='' newest
    newest="$(cloud_newest)"
    [[ -e $CLOUD/latest ]] && plan="$(< "$CLOUD/latest")"
    [[ ${plan:1:1} == '*' ]] || printf '%s' "${plan:1}" > "$CLOUD/latest"
    if [[ $plan == o* ]]; then newest=$(( newest - 1 )); fi
    cloud_note "latest $newest"
    echo "$newest"
}

cloud_add() {
    local payload version
    IFS= read -r -d '' payload || true
    [[ ! -e $CLOUD/full ]] || return 1
    version=$(( $(cloud_newest) + 1 ))
    [[ ! -e $CLOUD/torn ]] || payload="${payload%?}"
    printf '%s' "$payload" > "$CLOUD/version-$version"
    cloud_note "add $version"
    echo "$version"
}

cloud_access() {
    local version="$1"
    if [[ $version == latest ]]; then version="$(cloud_latest)"; fi
    [[ -e $CLOUD/version-$version ]] && ! cloud_is_destroyed "$version" || return 1
    if [[ $* == *--format=* ]]; then echo "$version"; else echo "$(< "$CLOUD/version-$version")"; fi
}

cloud_list() {
    local version
    [[ ! -e $CLOUD/late ]] || : > "$CLOUD/version-$(( $(cloud_newest) + 1 ))"
    for (( version = $(cloud_newest); version > 0; version-- )); do
        [[ $* == *--filter=*DESTROYED* ]] && cloud_is_destroyed "$version" || echo "$version"
    done
}

cloud_destroy() {
    cloud_note "destroy $1"
    ! cloud_is_destroyed "$1" || return 1
    : > "$CLOUD/version-$1"
    echo " $1 " >> "$CLOUD/destroyed"
}

cloud_secrets() {
    case "$1 $2" in
        'create '*) cloud_add ;;
        'versions add') cloud_add ;;
        'versions access') cloud_access "${@:3}" ;;
        'versions list') cloud_list "${@:3}" ;;
        'versions destroy') cloud_destroy "$3" ;;
        *) return 2 ;;
    esac
}

cloud_sync() {
    local version
    version="$(cloud_latest)"
    cloud_note "sync $version"
    ! cloud_is_destroyed "$version" && [[ -e $CLOUD/version-$version ]] || return 1
    [[ ! -e $CLOUD/refused || " $(< "$CLOUD/refused") " != *" $version "* ]] || return 1
    [[ $* == *--dry-run* ]] || echo "$version" > "$CLOUD/snapshot"
}

cloud_snapshot() {
    local version=none
    [[ -e $CLOUD/snapshot ]] || return 22
    version="$(< "$CLOUD/snapshot")"
    cloud_note "snapshot $version"
    printf '{\n  "name": "projects/p/databases/(default)/documents/x",\n  "fields": {\n    "key_version": {\n'
    printf '      "stringValue": "%s"\n    }\n  },\n  "createTime": "2026-01-05T14:30:00.123456Z"\n}\n' "$version"
}
"#;
