//! `tenants/**`: a member by both the claim and the membership document reads, and only the backend writes.

use crate::caller::Caller::Anonymous;
use crate::caller::{
    ANA, ANA_CLAIMING_A_LIST, ANA_CLAIMING_RIVAL, ANA_OF_AN_OLD_TOKEN, ANA_WITHOUT_CLAIM, BOB, EVE,
    EVE_OF_AN_OLD_TOKEN, EVE_OF_RIVAL,
};
use crate::scenario::{create, delete, get, group, list, merge, named, overwrite};
use crate::scenarios;
use serde_json::json;

scenarios! {
    a_member_gets_their_tenant: ANA.may(get("tenants/acme"));
    a_member_gets_their_tenants_account: ANA.may(get("tenants/acme/accounts/primary"));
    a_member_lists_their_tenants_accounts: ANA.may(list("tenants/acme/accounts"));
    a_member_gets_what_is_below_an_account: ANA.may(get("tenants/acme/accounts/primary/history/monday"));
    a_member_lists_what_is_below_an_account: ANA.may(list("tenants/acme/accounts/primary/history"));
    the_claims_other_spelling_counts: ANA_OF_AN_OLD_TOKEN.may(get("tenants/acme"));
    the_claims_other_spelling_counts_for_accounts: ANA_OF_AN_OLD_TOKEN.may(list("tenants/acme/accounts"));

    a_claim_without_membership_is_no_member: EVE.may_not(get("tenants/acme"));
    a_claim_without_membership_gets_no_account: EVE.may_not(get("tenants/acme/accounts/primary"));
    a_claim_without_membership_lists_no_accounts: EVE.may_not(list("tenants/acme/accounts"));
    a_claim_without_membership_gets_nothing_below:
        EVE.may_not(get("tenants/acme/accounts/primary/history/monday"));
    the_other_spelling_without_membership_gets_no_account:
        EVE_OF_AN_OLD_TOKEN.may_not(get("tenants/acme/accounts/primary"));
    a_membership_without_claim_is_no_member: ANA_WITHOUT_CLAIM.may_not(get("tenants/acme"));
    a_membership_without_claim_gets_no_account: ANA_WITHOUT_CLAIM.may_not(get("tenants/acme/accounts/primary"));
    a_membership_without_claim_lists_no_accounts: ANA_WITHOUT_CLAIM.may_not(list("tenants/acme/accounts"));
    a_claim_of_another_tenant_does_not_open_it: ANA_CLAIMING_RIVAL.may_not(get("tenants/rival/accounts/primary"));
    a_claim_of_another_tenant_does_not_open_ones_own:
        ANA_CLAIMING_RIVAL.may_not(get("tenants/acme/accounts/primary"));
    a_claim_that_lists_tenants_is_none: ANA_CLAIMING_A_LIST.may_not(get("tenants/acme/accounts/primary"));
    a_member_of_another_tenant_gets_no_tenant: EVE_OF_RIVAL.may_not(get("tenants/acme"));
    a_member_of_another_tenant_gets_no_account: EVE_OF_RIVAL.may_not(get("tenants/acme/accounts/primary"));
    a_user_of_no_tenant_gets_no_account: BOB.may_not(get("tenants/acme/accounts/primary"));
    nobody_anonymous_gets_a_tenant: Anonymous.may_not(get("tenants/acme"));
    nobody_anonymous_gets_an_account: Anonymous.may_not(get("tenants/acme/accounts/primary"));
    nobody_anonymous_lists_accounts: Anonymous.may_not(list("tenants/acme/accounts"));

    nobody_lists_tenants: ANA.may_not(list("tenants"));
    nobody_lists_tenants_by_the_name_of_their_own: ANA.may_not(named("tenants/acme"));
    nobody_lists_the_accounts_of_all_tenants: ANA.may_not(group("", "accounts"));

    a_member_creates_no_tenant: ANA.may_not(create("tenants/new", json!({"name": "New"})));
    a_member_changes_no_tenant: ANA.may_not(merge("tenants/acme", &["name"], json!({"name": "Mine"})));
    a_member_deletes_no_tenant: ANA.may_not(delete("tenants/acme"));
    a_member_creates_no_account: ANA.may_not(create("tenants/acme/accounts/second", json!({"equity": 1e9})));
    a_member_changes_no_account:
        ANA.may_not(merge("tenants/acme/accounts/primary", &["equity"], json!({"equity": 1e9})));
    a_member_overwrites_no_account:
        ANA.may_not(overwrite("tenants/acme/accounts/primary", json!({"equity": 1e9})));
    a_member_deletes_no_account: ANA.may_not(delete("tenants/acme/accounts/primary"));
    a_member_plants_nothing_below_an_account:
        ANA.may_not(create("tenants/acme/accounts/primary/history/tuesday", json!({"equity": 1e9})));
    a_forged_claim_changes_no_account:
        EVE.may_not(merge("tenants/acme/accounts/primary", &["equity"], json!({"equity": 0.0})));
    nobody_anonymous_changes_an_account:
        Anonymous.may_not(merge("tenants/acme/accounts/primary", &["equity"], json!({"equity": 0.0})));

    a_member_gets_their_membership: ANA.may(get("tenants/acme/users/ana"));
    a_membership_newer_than_the_token_is_seen: ANA_WITHOUT_CLAIM.may(get("tenants/acme/users/ana"));
    a_user_learns_that_they_are_no_member: BOB.may(get("tenants/acme/users/bob"));
    another_user_does_not_get_a_membership: BOB.may_not(get("tenants/acme/users/ana"));
    a_forged_claim_does_not_get_a_membership: EVE.may_not(get("tenants/acme/users/ana"));
    a_member_does_not_get_anothers_membership: EVE_OF_RIVAL.may_not(get("tenants/rival/users/ana"));
    nobody_anonymous_gets_a_membership: Anonymous.may_not(get("tenants/acme/users/ana"));
    a_member_lists_no_members: ANA.may_not(list("tenants/acme/users"));
    a_member_lists_no_members_by_their_own_name: ANA.may_not(named("tenants/acme/users/ana"));
    a_member_gets_nothing_below_their_membership: ANA.may_not(get("tenants/acme/users/ana/notes/one"));

    nobody_makes_themselves_a_member: EVE.may_not(create("tenants/acme/users/eve", json!({"role": "admin"})));
    nobody_makes_themselves_a_member_by_overwriting: BOB.may_not(overwrite("tenants/acme/users/bob", json!({})));
    nobody_makes_themselves_a_member_of_their_own_name:
        BOB.may_not(create("tenants/bob/users/bob", json!({"role": "admin"})));
    a_member_makes_nobody_else_a_member: ANA.may_not(create("tenants/acme/users/bob", json!({"role": "admin"})));
    a_member_does_not_change_their_membership:
        ANA.may_not(merge("tenants/acme/users/ana", &["role"], json!({"role": "owner"})));
    a_member_does_not_delete_their_membership: ANA.may_not(delete("tenants/acme/users/ana"));
    nobody_anonymous_makes_a_member: Anonymous.may_not(create("tenants/acme/users/bob", json!({})));

    an_unknown_subcollection_of_a_tenant_is_not_read: ANA.may_not(get("tenants/acme/invoices/one"));
    an_unknown_subcollection_of_a_tenant_is_not_listed: ANA.may_not(list("tenants/acme/invoices"));
    an_unknown_subcollection_of_a_tenant_is_not_written:
        ANA.may_not(create("tenants/acme/invoices/two", json!({"text": "x"})));
}
