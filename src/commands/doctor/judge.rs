//! What an answer of an admin API means. Nothing is asked here.

use crate::commands::frame::CheckState;
use serde_json::Value as Json;

const RULES: &str = include_str!("../../../firestore.rules");
const INDEXES: &str = include_str!("../../../firestore.indexes.json");

const SECRETS: &str = "secretmanager.googleapis.com";

/// How something stands, and its own way to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) state: CheckState,
    pub(super) sentence: String,
    pub(super) mend: Option<String>,
}

impl Judged {
    pub(super) fn new(state: CheckState, sentence: impl Into<String>) -> Self {
        Self { state, sentence: sentence.into(), mend: None }
    }

    pub(super) fn ok(sentence: &str) -> Self {
        Self::new(CheckState::Ok, sentence)
    }

    pub(super) fn failed(sentence: impl Into<String>) -> Self {
        Self::new(CheckState::Failed, sentence)
    }

    pub(super) fn mended_by(self, command: String) -> Self {
        Self { mend: Some(command), ..self }
    }
}

/// The database to make where one has a mode in which it is of no use.
pub(super) const ANOTHER: &str = "pulse";

pub(super) fn is_usable(database: &Json) -> bool {
    word(database, "type") == "FIRESTORE_NATIVE"
}

/// `another` makes one of a name of its own.
pub(super) fn database(answer: &Json, another: &str) -> Judged {
    if is_usable(answer) {
        return Judged::ok("The database is in native mode.");
    }
    let kind = answer["type"].as_str().unwrap_or("an unknown mode");
    Judged::failed(format!(
        "The database is in {kind}, and the job needs one in native mode: make one of another name, and set \
         PULSE_DATABASE={ANOTHER} then, here and for the job. Look again with it: nothing of this one is looked at."
    ))
    .mended_by(another.to_owned())
}

pub(super) fn rules(ruleset: &Json) -> Judged {
    let files = ruleset["source"]["files"].as_array().into_iter().flatten();
    let contents: Vec<_> = files.filter_map(|file| file["content"].as_str()).collect();
    match contents.as_slice() {
        [one] if one.trim() == RULES.trim() => Judged::ok("The security rules are those of firestore.rules."),
        _ => Judged::failed("The security rules are not those of firestore.rules, as this version has it."),
    }
}

/// The file's own, parsed.
fn file() -> Json {
    serde_json::from_str(INDEXES).unwrap_or_default()
}

pub(super) fn items<'a>(of: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    of[name].as_array().into_iter().flatten()
}

pub(super) fn word<'a>(of: &'a Json, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}

/// Whether each index and exemption of the file is there, and ready.
pub(super) fn indexes(fields: &Json, indexes: &Json) -> Judged {
    let file = file();
    let overrides = items(&file, "fieldOverrides")
        .filter(|wanted| !has_override(fields, wanted))
        .map(|wanted| format!("{}.{}", word(wanted, "collectionGroup"), word(wanted, "fieldPath")));
    let composite = items(&file, "indexes").filter(|wanted| !has_index(indexes, wanted)).map(|wanted| {
        let fields: Vec<_> = items(wanted, "fields").map(|field| word(field, "fieldPath")).collect();
        format!("{} ({})", word(wanted, "collectionGroup"), fields.join(", "))
    });
    let missing: Vec<_> = composite.chain(overrides).collect();
    let more = if missing.len() > 3 { ", …" } else { "" };
    match missing.len() {
        0 => Judged::ok("The indexes and exemptions are those of firestore.indexes.json."),
        count => {
            let first = missing[..count.min(3)].join(", ");
            Judged::failed(format!(
                "{count} of firestore.indexes.json are not there, or not ready: {first}{more}."
            ))
        }
    }
}

fn has_override(fields: &Json, wanted: &Json) -> bool {
    let Some(found) = field(fields, wanted) else { return false };
    let there: Vec<_> = items(&found["indexConfig"], "indexes").collect();
    let is_there = |index: &Json| {
        there.iter().any(|there| {
            let order = items(there, "fields").next().map(|field| word(field, "order"));
            let is_same =
                word(there, "queryScope") == word(index, "queryScope") && order == Some(word(index, "order"));
            is_same && word(there, "state") == "READY"
        })
    };
    items(wanted, "indexes").count() == there.len() && items(wanted, "indexes").all(is_there)
}

fn field<'a>(fields: &'a Json, wanted: &Json) -> Option<&'a Json> {
    let end =
        format!("/collectionGroups/{}/fields/{}", word(wanted, "collectionGroup"), word(wanted, "fieldPath"));
    items(fields, "fields").find(|field| word(field, "name").ends_with(&end))
}

fn has_index(indexes: &Json, wanted: &Json) -> bool {
    let group = format!("/collectionGroups/{}/indexes/", word(wanted, "collectionGroup"));
    let order = |index: &Json| {
        let fields = items(index, "fields").filter(|field| word(field, "fieldPath") != "__name__");
        fields
            .map(|field| (word(field, "fieldPath").to_owned(), word(field, "order").to_owned()))
            .collect::<Vec<_>>()
    };
    items(indexes, "indexes").any(|there| {
        let is_same =
            word(there, "queryScope") == word(wanted, "queryScope") && order(there) == order(wanted);
        is_same && word(there, "name").contains(&group) && word(there, "state") == "READY"
    })
}

/// Whether old ledgers and entries are deleted.
pub(super) fn expiry(fields: &Json) -> Judged {
    let file = file();
    let wanted = items(&file, "fieldOverrides").filter(|wanted| wanted["ttl"] == true);
    let expires = |wanted: &&Json| {
        let state = field(fields, wanted).map(|field| word(&field["ttlConfig"], "state"));
        matches!(state, Some("ACTIVE" | "CREATING"))
    };
    let kept: Vec<_> =
        wanted.filter(|wanted| !expires(wanted)).map(|wanted| word(wanted, "collectionGroup")).collect();
    match kept.is_empty() {
        true => Judged::ok("Old ledgers and entries of the equity history are deleted."),
        false => Judged::failed(format!("Old documents are never deleted of: {}.", kept.join(", "))),
    }
}

/// Whether it is logged who reads keys.
pub(super) fn audit_logs(policy: &Json) -> Judged {
    let of_secrets = items(policy, "auditConfigs")
        .filter(|config| [SECRETS, "allServices"].contains(&word(config, "service")));
    let is_logged = of_secrets
        .flat_map(|config| items(config, "auditLogConfigs"))
        .any(|log| word(log, "logType") == "DATA_READ");
    match is_logged {
        true => Judged::ok("Who reads a secret is logged."),
        false => Judged::new(
            CheckState::Warning,
            "Who reads a secret is not logged: nobody could tell afterwards.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_reads_secrets_is_logged_by_either_service() {
        let with = |service: &str, kind: &str| {
            audit_logs(
                &json!({"auditConfigs": [{"service": service, "auditLogConfigs": [{"logType": kind}]}]}),
            )
            .state
        };
        assert_eq!(with("allServices", "DATA_READ"), CheckState::Ok);
        assert_eq!(with(SECRETS, "DATA_READ"), CheckState::Ok);
        assert_eq!(with(SECRETS, "DATA_WRITE"), CheckState::Warning);
        assert_eq!(with("run.googleapis.com", "DATA_READ"), CheckState::Warning);
        assert_eq!(audit_logs(&json!({})).state, CheckState::Warning);
    }

    #[test]
    fn an_answer_that_says_nothing_is_no_good_one() {
        let nothing = json!({});
        for judged in [database(&nothing, ""), rules(&nothing), indexes(&nothing, &nothing), expiry(&nothing)]
        {
            assert_eq!(judged.state, CheckState::Failed, "{}", judged.sentence);
        }
    }

    #[test]
    fn an_index_that_is_being_built_is_not_there_yet() {
        let wanted = json!({"collectionGroup": "alpacaAccounts", "fieldPath": "state",
            "indexes": [{"order": "ASCENDING", "queryScope": "COLLECTION_GROUP"}]});
        let there = |state: &str, order: &str| {
            let index = json!({"queryScope": "COLLECTION_GROUP", "state": state,
                "fields": [{"fieldPath": "state", "order": order}]});
            let name = "projects/p/databases/(default)/collectionGroups/alpacaAccounts/fields/state";
            has_override(&json!({"fields": [{"name": name, "indexConfig": {"indexes": [index]}}]}), &wanted)
        };
        assert!(there("READY", "ASCENDING"));
        assert!(!there("CREATING", "ASCENDING") && !there("READY", "DESCENDING"));
    }
}
