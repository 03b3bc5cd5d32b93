//! That the scenarios try every condition of the rules both ways.

use crate::all_scenarios;
use crate::project::{Project, RULES};

use serde_json::Value;

#[tokio::test]
async fn every_condition_was_true_for_one_scenario_and_false_for_another() {
    let Some(project) = Project::new().await else { return };
    for (name, scenario) in all_scenarios() {
        scenario.check(&project, name).await;
    }
    let coverage = project.coverage().await;
    let report = coverage["report"].as_array().expect("a report");
    let conditions = report.iter().filter(|expression| is_condition(expression)).count();
    assert_eq!(conditions, allow_statements(), "an `allow` without a condition, or one that is not reported");
    // The report's roots are the conditions of `allow` statements and the bodies of functions.
    let one_sided: Vec<_> = report.iter().flat_map(|root| one_sided(root, Sort::Condition)).collect();
    assert!(one_sided.is_empty(), "never both true and false:\n{}", one_sided.join("\n"));
}

/// What is known of an expression's type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// It decides, so it is a boolean.
    Condition,
    /// A part of one: a boolean if it ever evaluated to one.
    Part,
}

/// The source of every boolean expression in this one that was not both true and false.
fn one_sided(expression: &Value, sort: Sort) -> Vec<String> {
    let was = |truth: bool| values(expression).any(|value| value["boolValue"] == truth);
    let is_boolean = sort == Sort::Condition || was(true) || was(false);
    let this = (is_boolean && !(was(true) && was(false))).then(|| {
        let line = &expression["sourcePosition"]["line"];
        format!("line {line}: {} (true: {}, false: {})", source(expression), was(true), was(false))
    });
    let parts = expression["children"].as_array().into_iter().flatten();
    this.into_iter().chain(parts.flat_map(|part| one_sided(part, Sort::Part))).collect()
}

fn values(expression: &Value) -> impl Iterator<Item = &Value> {
    expression["values"].as_array().into_iter().flatten().map(|counted| &counted["value"])
}

fn is_condition(expression: &Value) -> bool {
    RULES[..offset(expression, "currentOffset")].trim_end().ends_with(": if")
}

fn source(expression: &Value) -> &str {
    &RULES[offset(expression, "currentOffset")..=offset(expression, "endOffset")]
}

/// A place in the rules. The emulator leaves out a zero.
fn offset(expression: &Value, end: &str) -> usize {
    let offset = expression["sourcePosition"][end].as_u64().unwrap_or_default();
    usize::try_from(offset).expect("a place in a short file")
}

/// How many there are in the file, comments aside.
fn allow_statements() -> usize {
    RULES.lines().filter(|line| line.trim_start().starts_with("allow ")).count()
}
