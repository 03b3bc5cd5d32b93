//! The picture of the benchmark: drawn by its own code, and the one that its page shows.

#[path = "../../benches/pulse/picture.rs"]
mod drawing;

use crate::read;
use drawing::{Bar, svg, with_commas};

/// The elements with their texts, in their order. Fails if they are not closed in the order that they were opened in.
fn elements(svg: &str) -> Vec<(String, String)> {
    let (mut open, mut found) = (Vec::<String>::new(), Vec::new());
    for piece in svg.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let entities =
            text.split('&').skip(1).all(|rest| ["amp;", "lt;", "gt;"].iter().any(|e| rest.starts_with(e)));
        assert!(entities && !text.contains('>'), "{text}");
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).expect("a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{svg}");
            continue;
        }
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
        found.push((name.to_owned(), text.trim().to_owned()));
    }
    assert!(open.is_empty(), "{open:?} stay open");
    found
}

fn texts(elements: &[(String, String)]) -> Vec<&str> {
    elements.iter().filter(|(name, _)| name == "text").map(|(_, text)| text.as_str()).collect()
}

fn bar(name: &str, users_per_second: f64, cpu_us_per_user: f64) -> Bar {
    Bar { name: name.to_owned(), users_per_second, cpu_us_per_user, is_ours: name == "pulse" }
}

#[test]
fn every_program_has_its_name_two_bars_and_their_numbers() {
    let bars = [bar("pulse", 3_644.4, 227.0), bar("a < b & c", 96.0, 10_658.0), bar("nothing", 0.0, 0.0)];
    let drawn = svg("A title", "how", &bars);
    let elements = elements(&drawn);
    let texts = texts(&elements);
    for expected in ["A title", "how", "pulse", "a &lt; b &amp; c", "3,644", "227", "96", "10,658"] {
        assert!(texts.contains(&expected), "{expected}: {texts:?}");
    }
    assert_eq!(elements.iter().filter(|(name, _)| name == "rect").count(), 2 * bars.len());
    assert_eq!(drawn.matches("class=\"ours\"").count(), 2);
    // The longest of each half; and whatever is nothing is seen all the same.
    assert_eq!((drawn.matches("width=\"250.0\"").count(), drawn.matches("width=\"1.0\"").count()), (2, 2));
}

#[test]
fn a_number_is_read_in_groups_of_three() {
    for (figure, expected) in [(0.4, "0"), (96.0, "96"), (1_000.0, "1,000"), (1_234_567.8, "1,234,568")] {
        assert_eq!(with_commas(figure), expected);
    }
}

/// Whoever draws it anew need not change the page.
#[test]
fn the_page_of_the_benchmark_shows_a_picture_that_is_whole() {
    assert!(read("benches/README.md").contains("](peers.svg)"), "it is shown");
    let drawn = read("benches/peers.svg");
    let elements = elements(&drawn);
    let texts = texts(&elements);
    assert_eq!(elements.first().map(|(name, _)| name.as_str()), Some("svg"));
    assert!(drawn.contains("prefers-color-scheme") && texts.iter().any(|text| text.starts_with("pulse")));
    let numbers = texts.iter().filter(|text| text.chars().all(|c| c.is_ascii_digit() || c == ',')).count();
    let bars = elements.iter().filter(|(name, _)| name == "rect").count();
    assert_eq!((numbers, bars % 2), (bars, 0), "{texts:?}");
    assert!(bars >= 4, "at least one to compare with");
}
