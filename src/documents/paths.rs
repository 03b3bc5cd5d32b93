//! The documents' full names, which other programs know.

use crate::documents::snapshot::{legacy_snapshot_name, snapshot_name};
use crate::documents::sync_state::sync_state_name;
use crate::documents::tenant::primary_name;
use crate::documents::user::user_name;
use crate::model::ids::{Database, DocumentId, TenantId};

#[test]
fn each_document_is_where_the_contract_has_it() {
    let database = Database::parse("p", "(default)").expect("legal");
    let ana = DocumentId::parse("ana@example.com").expect("legal");
    let acme = TenantId::parse("acme").expect("legal");
    for (name, path) in [
        (user_name(&database, &ana), "users/ana@example.com"),
        (snapshot_name(&database, &ana), "users/ana@example.com/alpacaAccounts/snapshot"),
        (sync_state_name(&database, &ana), "users/ana@example.com/alpacaAccounts/sync"),
        (legacy_snapshot_name(&database), "alpacaAccounts/snapshot"),
        (primary_name(&database, &acme), "tenants/acme/accounts/primary"),
    ] {
        assert_eq!(name, format!("projects/p/databases/(default)/documents/{path}"));
    }
}
