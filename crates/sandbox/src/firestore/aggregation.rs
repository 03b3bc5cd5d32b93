//! `RunAggregationQuery`: counts, sums and averages of a query's results.

use super::clock::timestamp;
use super::database::{Consistency, State};
use super::errors::invalid;
use super::fields::FieldPath;
use super::filter::parse_reference;
use super::names::parse_parent;
use super::query::Query;
use super::store::Found;
use super::transforms::{as_double, sum};
use super::values::{null, value};
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::aggregation::Operator;
use gcloud_sdk::google::firestore::v1::structured_aggregation_query::{Aggregation, QueryType};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::{
    AggregationResult, RunAggregationQueryRequest, RunAggregationQueryResponse, Value,
    run_aggregation_query_request,
};
use std::collections::HashMap;
use std::sync::Arc;
use tonic::Status;

/// Most aggregations in one request.
const MAX_AGGREGATIONS: usize = 5;

#[derive(Debug)]
enum Measure {
    Count { up_to: Option<usize> },
    Sum(FieldPath),
    Average(FieldPath),
}

impl State {
    pub(super) fn run_aggregation_query(
        &mut self,
        request: RunAggregationQueryRequest,
    ) -> Result<impl Iterator<Item = RunAggregationQueryResponse> + Send + use<>, Status> {
        use run_aggregation_query_request::ConsistencySelector as Selector;
        let (database, parent) = parse_parent(&request.parent)?;
        let Some(run_aggregation_query_request::QueryType::StructuredAggregationQuery(aggregation)) =
            request.query_type
        else {
            return Err(invalid("A RunAggregationQuery request has no query."));
        };
        let query = aggregation.query_type.map(|QueryType::StructuredQuery(query)| query).unwrap_or_default();
        let mut query = Query::parse(database, parent, query)?;
        let measures = parse_aggregations(aggregation.aggregations)?;
        for measure in measures.values() {
            // As an index over these fields would do it: documents without them are not even counted.
            if let Measure::Sum(field) | Measure::Average(field) = measure {
                query.require(field.clone());
            }
        }
        let consistency = match request.consistency_selector {
            None => Consistency::Latest,
            Some(Selector::Transaction(id)) => Consistency::InTransaction(id),
            Some(Selector::NewTransaction(options)) => Consistency::InNewTransaction(options),
            Some(Selector::ReadTime(time)) => Consistency::At(time),
        };
        let mut view = self.view(database, consistency)?;
        let results = view.query(&Arc::new(query))?;
        let begun = view.new_transaction();
        let begun =
            begun.map(|transaction| RunAggregationQueryResponse { transaction, ..Default::default() });
        let aggregate_fields =
            measures.iter().map(|(alias, measure)| (alias.clone(), measure.of(&results))).collect();
        let result = RunAggregationQueryResponse {
            result: Some(AggregationResult { aggregate_fields }),
            read_time: Some(timestamp(view.read_time)),
            ..Default::default()
        };
        Ok(begun.into_iter().chain([result]))
    }
}

impl Measure {
    fn of(&self, results: &[Found]) -> Value {
        match self {
            Self::Count { up_to } => {
                let count = results.len().min(up_to.unwrap_or(usize::MAX));
                value(ValueType::IntegerValue(i64::try_from(count).unwrap_or(i64::MAX)))
            }
            Self::Sum(field) => total(&numbers(field, results)),
            Self::Average(field) => average(&numbers(field, results)),
        }
    }
}

fn parse_aggregations(aggregations: Vec<Aggregation>) -> Result<HashMap<String, Measure>, Status> {
    if aggregations.is_empty() || aggregations.len() > MAX_AGGREGATIONS {
        return Err(invalid(format!("A query needs between 1 and {MAX_AGGREGATIONS} aggregations.")));
    }
    let mut measures = HashMap::with_capacity(aggregations.len());
    let mut unnamed = 0;
    for aggregation in aggregations {
        let alias = match aggregation.alias {
            alias if alias.is_empty() => {
                unnamed += 1;
                format!("field_{unnamed}")
            }
            alias => alias,
        };
        let field = |reference| match parse_reference(reference)? {
            name if name.is_name() => Err(invalid("A document's name cannot be aggregated.")),
            field => Ok(field),
        };
        let measure = match &aggregation.operator {
            None => return Err(invalid("An aggregation has no operator.")),
            Some(Operator::Count(count)) => {
                let up_to = count.up_to.map(usize::try_from).transpose();
                Measure::Count { up_to: up_to.map_err(|_| invalid("up_to is negative"))? }
            }
            Some(Operator::Sum(sum)) => Measure::Sum(field(sum.field.as_ref())?),
            Some(Operator::Avg(average)) => Measure::Average(field(average.field.as_ref())?),
        };
        if measures.insert(alias.clone(), measure).is_some() {
            return Err(invalid(format!("Two aggregations have the alias \"{alias}\".")));
        }
    }
    Ok(measures)
}

/// The numbers in one field of the results; other values are passed over.
fn numbers(field: &FieldPath, results: &[Found]) -> Vec<ValueType> {
    let values = results.iter().filter_map(|found| field.get(&found.stored.fields())?.value_type.clone());
    values.filter(|value| matches!(value, ValueType::IntegerValue(_) | ValueType::DoubleValue(_))).collect()
}

fn total(numbers: &[ValueType]) -> Value {
    let zero = value(ValueType::IntegerValue(0));
    numbers.iter().fold(zero, |total, number| sum(Some(&total), &value(number.clone())))
}

fn average(numbers: &[ValueType]) -> Value {
    if numbers.is_empty() {
        return null();
    }
    let total: f64 = numbers.iter().map(as_double).sum();
    value(ValueType::DoubleValue(total / numbers.len() as f64))
}
