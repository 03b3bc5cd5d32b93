//! What Alpaca answers for a user.

use http::StatusCode;
use pulse_sandbox::alpaca::Profile;

/// The body about an open account with so much equity, and as much of everything else.
pub(crate) fn account(equity: &str) -> String {
    serde_json::json!({
        "id": "1d9eed04-be39-4e01-9b84-a48ac5bbafcf", "status": "ACTIVE", "currency": "USD",
        "equity": equity, "buying_power": equity, "cash": equity,
    })
    .to_string()
}

/// An open account with so much equity.
pub(crate) fn money(equity: &str) -> Profile {
    answer(200, account(equity))
}

/// Always this status, with that body.
pub(crate) fn answer(status: u16, body: impl Into<String>) -> Profile {
    let status = StatusCode::from_u16(status).expect("a status");
    Profile::Fixed { status, body: body.into().into() }
}
