//! `users/{userId}`: that user gets and writes it, except for what the backend sets in it.

use crate::caller::Caller::Anonymous;
use crate::caller::{ANA, BOB, CY, Caller};
use crate::scenario::{count, create, delete, get, group, increment, list, merge, named, overwrite};
use crate::scenarios;
use serde_json::json;

/// The backend switched their sync off.
const DAN: Caller = Caller::User("dan", None);
/// Signed up with both of the backend's fields as nulls.
const FAY: Caller = Caller::User("fay", None);

scenarios! {
    a_user_gets_their_own_document: ANA.may(get("users/ana"));
    a_user_asks_for_their_document_before_it_exists: CY.may(get("users/cy"));
    another_user_does_not_get_it: BOB.may_not(get("users/ana"));
    nobody_anonymous_gets_it: Anonymous.may_not(get("users/ana"));

    nobody_lists_users: ANA.may_not(list("users"));
    nobody_anonymous_lists_users: Anonymous.may_not(list("users"));
    nobody_lists_users_by_their_own_name: ANA.may_not(named("users/ana"));
    nobody_counts_users: ANA.may_not(count("users"));
    nobody_lists_users_of_all_parents: ANA.may_not(group("", "users"));

    a_user_creates_their_own_document: CY.may(create("users/cy", json!({"name": "Cy"})));
    a_user_creates_it_by_overwriting: CY.may(overwrite("users/cy", json!({"name": "Cy"})));
    another_user_does_not_create_it: BOB.may_not(create("users/cy", json!({"name": "Cy"})));
    nobody_anonymous_creates_it: Anonymous.may_not(create("users/cy", json!({"name": "Cy"})));
    the_tenant_is_not_set_on_create: CY.may_not(create("users/cy", json!({"name": "Cy", "tenant_id": "acme"})));
    the_tenant_is_not_set_on_an_overwrite_that_creates:
        CY.may_not(overwrite("users/cy", json!({"tenant_id": "acme"})));
    the_tenant_is_not_set_on_a_merge_that_creates:
        CY.may_not(merge("users/cy", &["tenant_id"], json!({"tenant_id": "acme"})));
    the_tenant_is_not_set_by_the_server_on_create: CY.may_not(increment("users/cy", "tenant_id"));
    the_sync_is_not_switched_off_on_create:
        CY.may_not(create("users/cy", json!({"name": "Cy", "sync_enabled": false})));
    the_sync_is_not_switched_on_on_create:
        CY.may_not(create("users/cy", json!({"name": "Cy", "sync_enabled": true})));
    nulls_in_place_of_the_backend_fields_are_fine_on_create:
        CY.may(create("users/cy", json!({"name": "Cy", "tenant_id": null, "sync_enabled": null})));
    nulls_in_place_of_the_backend_fields_are_fine_on_an_overwrite_that_creates:
        CY.may(overwrite("users/cy", json!({"tenant_id": null, "sync_enabled": null})));
    a_null_beside_a_tenant_hides_nothing_on_create:
        CY.may_not(create("users/cy", json!({"tenant_id": "acme", "sync_enabled": null})));
    a_null_beside_a_switch_hides_nothing_on_create:
        CY.may_not(create("users/cy", json!({"tenant_id": null, "sync_enabled": false})));
    an_empty_tenant_is_no_null: CY.may_not(create("users/cy", json!({"tenant_id": ""})));
    a_map_in_place_of_the_tenant_is_no_null: CY.may_not(create("users/cy", json!({"tenant_id": {"id": null}})));

    a_user_changes_their_own_document: ANA.may(merge("users/ana", &["name"], json!({"name": "Anna"})));
    a_user_adds_a_field: ANA.may(merge("users/ana", &["theme"], json!({"theme": "dark"})));
    a_user_removes_a_field: ANA.may(merge("users/ana", &["name"], json!({})));
    a_user_has_the_server_count: ANA.may(increment("users/ana", "visits"));
    a_user_overwrites_a_document_without_backend_fields: BOB.may(overwrite("users/bob", json!({"theme": "dark"})));
    an_overwrite_that_keeps_the_backend_fields_is_fine: ANA.may(overwrite(
        "users/ana",
        json!({"theme": "dark", "tenant_id": "acme", "sync_enabled": true}),
    ));
    another_user_does_not_change_it: BOB.may_not(merge("users/ana", &["name"], json!({"name": "Anna"})));
    nobody_anonymous_changes_it: Anonymous.may_not(merge("users/ana", &["name"], json!({"name": "Anna"})));

    the_tenant_is_not_added: BOB.may_not(merge("users/bob", &["tenant_id"], json!({"tenant_id": "acme"})));
    the_tenant_is_not_added_as_a_map:
        BOB.may_not(merge("users/bob", &["tenant_id.id"], json!({"tenant_id": {"id": "acme"}})));
    the_tenant_is_not_added_by_the_server: BOB.may_not(increment("users/bob", "tenant_id"));
    the_tenant_is_not_added_by_overwriting: BOB.may_not(overwrite("users/bob", json!({"tenant_id": "acme"})));
    the_tenant_is_not_changed: ANA.may_not(merge("users/ana", &["tenant_id"], json!({"tenant_id": "rival"})));
    the_tenant_is_not_changed_among_other_fields: ANA.may_not(merge(
        "users/ana",
        &["name", "tenant_id"],
        json!({"name": "Anna", "tenant_id": "rival"}),
    ));
    the_tenant_is_not_removed: ANA.may_not(merge("users/ana", &["tenant_id"], json!({})));
    the_tenant_is_not_removed_by_overwriting_the_whole_document:
        ANA.may_not(overwrite("users/ana", json!({"name": "Ana", "sync_enabled": true})));
    the_tenant_is_not_made_null: ANA.may_not(merge("users/ana", &["tenant_id"], json!({"tenant_id": null})));
    a_null_tenant_is_not_added: BOB.may_not(merge("users/bob", &["tenant_id"], json!({"tenant_id": null})));
    a_null_tenant_is_not_filled: FAY.may_not(merge("users/fay", &["tenant_id"], json!({"tenant_id": "acme"})));
    a_null_tenant_is_not_filled_by_the_server: FAY.may_not(increment("users/fay", "tenant_id"));
    a_null_tenant_is_not_filled_by_overwriting:
        FAY.may_not(overwrite("users/fay", json!({"tenant_id": "acme", "sync_enabled": null})));
    a_null_tenant_is_not_removed: FAY.may_not(merge("users/fay", &["tenant_id"], json!({})));
    who_has_null_fields_changes_the_others: FAY.may(merge("users/fay", &["name"], json!({"name": "Faye"})));

    the_sync_is_not_switched_off:
        ANA.may_not(merge("users/ana", &["sync_enabled"], json!({"sync_enabled": false})));
    the_sync_is_not_switched_on_again:
        DAN.may_not(merge("users/dan", &["sync_enabled"], json!({"sync_enabled": true})));
    the_sync_switch_is_not_added:
        BOB.may_not(merge("users/bob", &["sync_enabled"], json!({"sync_enabled": false})));
    the_sync_switch_is_not_removed: DAN.may_not(merge("users/dan", &["sync_enabled"], json!({})));
    the_sync_switch_is_not_removed_by_overwriting_the_whole_document:
        DAN.may_not(overwrite("users/dan", json!({"name": "Dan"})));

    a_user_deletes_a_document_without_backend_fields: BOB.may(delete("users/bob"));
    a_document_with_backend_fields_is_not_deleted: ANA.may_not(delete("users/ana"));
    a_document_with_the_sync_switch_alone_is_not_deleted: DAN.may_not(delete("users/dan"));
    the_sync_switch_is_not_made_null:
        DAN.may_not(merge("users/dan", &["sync_enabled"], json!({"sync_enabled": null})));
    a_null_switch_is_not_set:
        FAY.may_not(merge("users/fay", &["sync_enabled"], json!({"sync_enabled": false})));
    a_document_with_nulls_in_place_of_the_backend_fields_is_deleted: FAY.may(delete("users/fay"));
    another_user_does_not_delete_it: ANA.may_not(delete("users/bob"));
    nobody_anonymous_deletes_it: Anonymous.may_not(delete("users/bob"));
}
