use super::*;
use crate::firestore::testing::{any_value, array, boolean, double, int, map, reference, text, vector};
use proptest::prelude::*;

#[test]
fn values_sort_by_type_and_then_by_value() {
    let ascending = [
        null(),
        boolean(false),
        boolean(true),
        double(f64::NAN),
        double(f64::NEG_INFINITY),
        int(i64::MIN),
        int(-1),
        int(0),
        double(0.5),
        double(9_007_199_254_740_992.0),
        int(9_007_199_254_740_993),
        double(f64::INFINITY),
        value(ValueType::TimestampValue(Default::default())),
        text(""),
        text("a"),
        text("é"),
        text("\u{ff5e}"),
        text("\u{1f600}"),
        value(ValueType::BytesValue(vec![0])),
        reference("u/a/b/c"),
        reference("u/a!"),
        value(ValueType::GeoPointValue(Default::default())),
        array(&[]),
        array(&[int(1)]),
        array(&[int(1), int(2)]),
        array(&[int(2)]),
        vector(&[double(2.0)]),
        vector(&[double(0.0), double(1.0)]),
        vector(&[double(1.0), double(0.0)]),
        map(&[]),
        map(&[("a", int(1))]),
        map(&[("a", int(1)), ("b", int(0))]),
        map(&[("a", int(2))]),
        map(&[("aa", int(0))]),
        map(&[("b", int(0))]),
    ];
    for (i, left) in ascending.iter().enumerate() {
        for (j, right) in ascending.iter().enumerate() {
            assert_eq!(order(left, right), i.cmp(&j), "{left:?} and {right:?}");
        }
    }
}

#[test]
fn a_whole_double_equals_the_integer_but_is_not_identical() {
    assert!(equal(&int(1), &double(1.0)) && equal(&double(-0.0), &int(0)));
    assert!(!identical(&int(1), &double(1.0)) && !identical(&double(0.0), &double(-0.0)));
    assert!(identical(&array(&[double(f64::NAN)]), &array(&[double(f64::NAN)])));
}

#[test]
fn timestamps_keep_microseconds() {
    let time = prost_types::Timestamp { seconds: 1, nanos: 123_456_789 };
    let mut fields = Fields::from([("t".to_owned(), value(ValueType::TimestampValue(time)))]);
    check_fields(&mut fields).unwrap();
    let kept = prost_types::Timestamp { seconds: 1, nanos: 123_456_000 };
    assert_eq!(fields["t"], value(ValueType::TimestampValue(kept)));
}

#[test]
fn what_no_document_may_hold_is_refused() {
    let bad = [
        ("", int(1)),
        ("__x__", int(1)),
        ("array_in_array", array(&[array(&[])])),
        ("no_type", Value::default()),
        ("not_a_name", value(ValueType::ReferenceValue("u/a".into()))),
        ("inner", map(&[("", int(1))])),
        ("long", text(&"x".repeat(1_048_488))),
    ];
    for (name, value) in bad {
        let refusal = check_fields(&mut Fields::from([(name.to_owned(), value)]));
        assert_eq!(refusal.map_err(|status| status.code()), Err(tonic::Code::InvalidArgument), "{name}");
    }
}

#[test]
fn twenty_levels_of_maps_are_the_most() {
    let nested = |levels: usize| (0..levels).fold(int(1), |inner, _| map(&[("n", inner)]));
    assert!(check_operand(&mut nested(20)).is_ok());
    assert!(check_operand(&mut nested(21)).is_err());
}

proptest! {
    #[test]
    fn mixed_numbers_compare_exactly(integer: i64, double: f64) {
        // Ordering through a wider integer is exact wherever the double fits into one.
        prop_assume!(double.abs() < 1e30);
        let floor = double.floor() as i128;
        let exact = i128::from(integer).cmp(&floor).then(
            if double.fract() == 0.0 { Ordering::Equal } else { Ordering::Less },
        );
        prop_assert_eq!(order_mixed(integer, double), exact);
    }

    #[test]
    fn the_order_of_values_is_total(a in any_value(), b in any_value(), c in any_value()) {
        prop_assert_eq!(order(&a, &a), Ordering::Equal);
        prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
        if order(&a, &b).is_le() && order(&b, &c).is_le() {
            prop_assert!(order(&a, &c).is_le());
        }
        if equal(&a, &b) {
            prop_assert_eq!(order(&a, &c), order(&b, &c));
        }
    }

    #[test]
    fn what_is_identical_is_equal(a in any_value(), b in any_value()) {
        prop_assert!(identical(&a, &a));
        prop_assert!(!identical(&a, &b) || equal(&a, &b));
    }
}
