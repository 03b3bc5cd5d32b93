//! Shows a user's money, and proposes to buy for it: `backend PROJECT USER KEY NOTIONAL`
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use account_reader::decimal::{parse, plain};
use account_reader::firestore::{Accounts, FirestoreDb, Signals};
use account_reader::jiff::{SignedDuration, Timestamp};
use account_reader::{Action, Environment, Funds, Policy, Proposal, Verdict};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [project, user, key, notional] = &arguments[..] else { return Err("four arguments".into()) };
    let db = FirestoreDb::new(project).await?;
    let (snapshot, now) = (Accounts::new(&db).snapshot(user).await?, Timestamp::now());
    println!("{user}: {}, sync {}", snapshot.verdict(now).as_str(), snapshot.sync().state.as_str());
    if let Verdict::Fresh { account, age } | Verdict::Stale { account, age } = snapshot.verdict(now) {
        println!("{} {}, {} s old", plain(&account.figures.cash), account.currency, age.as_secs());
    }
    let (environment, currency) = (Environment::Paper, "USD".to_owned());
    let policy = Policy { environment, currency, funds: Funds::Cash, reserve: parse("100")? };
    let proposal = Proposal {
        user: user.clone(),
        symbol: "SPY".to_owned(),
        action: Action::Buy,
        notional_usd: Some(parse(notional)?),
        closes: false,
        reason: "trend".to_owned(),
        strategy_id: "example".to_owned(),
        expires_at: now + SignedDuration::from_mins(2),
    };
    println!("{}", Signals::new(&db).propose(key, &proposal, &policy).await?);
    Ok(())
}
