//! What are and what are not keys.

use super::*;
use proptest::prelude::*;

fn parse(payload: &str) -> Result<AlpacaKeys, MalformedKeys> {
    AlpacaKeys::from_payload(payload.as_bytes())
}

fn refusal(payload: &str) -> MalformedKeys {
    parse(payload).expect_err(payload)
}

#[test]
fn the_environment_is_the_payloads_word_or_the_key_ids_prefix() {
    let environment = |payload| parse(payload).expect(payload).environment();
    assert_eq!(environment(r#"{"key_id":"PK1","secret_key":"s"}"#), Environment::Paper);
    assert_eq!(environment(r#"{"key_id":"AK1","secret_key":"s"}"#), Environment::Live);
    assert_eq!(environment(r#"{"key_id":"PK1","secret_key":"s","environment":"live"}"#), Environment::Live);
    assert_eq!(environment(r#"{"key_id":"AK1","secret_key":"s","environment":"paper"}"#), Environment::Paper);
    assert_eq!(
        environment(r#"{"key_id":"AK1","secret_key":"s","environment":null,"x":1}"#),
        Environment::Live
    );
}

#[test]
fn each_malformed_payload_is_told_apart() {
    use MalformedKeys as M;
    for (payload, expected) in [
        ("", M::Nothing),
        (" \r\n\u{feff}", M::Nothing),
        ("not json", M::NotJson { line: 1, column: 2 }),
        ("key_id=PK1\nsecret_key=s", M::NotJson { line: 1, column: 1 }),
        (r#"{"key_id":"PK1""#, M::NotJson { line: 1, column: 15 }),
        ("{\"key_id\":\"PK1\"\n\"secret_key\":\"s\"}", M::NotJson { line: 2, column: 1 }),
        (r#"{"key_id":"PK1","secret_key":"s"} {}"#, M::NotJson { line: 1, column: 35 }),
        ("[]", M::Array),
        (r#"["PK1","s","paper",null,null]"#, M::Array),
        (r#"[{"key_id":"PK1","secret_key":"s"}]"#, M::Array),
        ("\"PK1\"", M::NoObject),
        ("null", M::NoObject),
        ("17", M::NoObject),
        (r#""{\"key_id\":\"PK1\",\"secret_key\":\"s\"}""#, M::JsonInText),
        (r#""{"key_id":"PK1","secret_key":"s"}""#, M::Quoted),
        (r#"'{"key_id":"PK1","secret_key":"s"}'"#, M::Quoted),
        (r#"'{"key_id":"PK1","secret_key":"s"}"#, M::SingleQuotes),
        ("{'key_id':'PK1','secret_key':'s'}", M::SingleQuotes),
        (r#"{"key_id":'PK1',"secret_key":'s'}"#, M::SingleQuotes),
        ("{“key_id”:“PK1”,“secret_key”:“s”}", M::TypographicQuotes),
        (r#"{"key_id":"PK1","secret_key":"s",}"#, M::TrailingComma),
        ("{\"key_id\":\"PK1\",\n\"secret_key\":\"s\",\n}", M::TrailingComma),
        (r#"{"key_id":"PK1","key_id":"PK2","secret_key":"s"}"#, M::Twice),
        (r#"{"key_id":"PK1","secret_key":"s","\u006bey_id":"PK2"}"#, M::Twice),
        (r#"{"key_id":1,"secret_key":"s"}"#, M::NotText("key_id")),
        (r#"{"key_id":"PK1","secret_key":["s"]}"#, M::NotText("secret_key")),
        (r#"{"key_id":"PK1","secret_key":"s","environment":true}"#, M::NotText("environment")),
        (r#"{"key_id":"PK1","secret_key":"s","base_url":{}}"#, M::NotText("base_url")),
        (r#"{"secret_key":"s"}"#, M::Missing("key_id")),
        (r#"{"key_id":"PK1","secret_key":null}"#, M::Missing("secret_key")),
        (r#"{"key_id":"","secret_key":"s"}"#, M::Empty("key_id")),
        (r#"{"key_id":"PK1","secret_key":"s\n"}"#, M::Blank("secret_key")),
        (r#"{"key_id":" PK1","secret_key":"s"}"#, M::Blank("key_id")),
        (r#"{"key_id":"PK1","secret_key":"s\u00a0"}"#, M::Blank("secret_key")),
        (r#"{"key_id":"PK1","secret_key":"s\nt"}"#, M::NotAHeader("secret_key")),
        (r#"{"key_id":"PKé","secret_key":"s"}"#, M::NotAHeader("key_id")),
        (r#"{"key_id":"PK1","secret_key":"\ud800"}"#, M::NotAHeader("secret_key")),
        (r#"{"key_id":"PK1","secret_key":"s","environment":"prod"}"#, M::UnknownEnvironment),
        (r#"{"oauth_token":"t"}"#, M::Missing("environment")),
        (r#"{"oauth_token":"t","environment":null}"#, M::Missing("environment")),
        (r#"{"oauth_token":"t","base_url":"https://paper-api.alpaca.markets"}"#, M::Missing("environment")),
        (
            r#"{"oauth_token":"t","environment":"live","base_url":"https://paper-api.alpaca.markets"}"#,
            M::Contradiction,
        ),
        (r#"{"oauth_token":"t","environment":"Paper"}"#, M::UnknownEnvironment),
        (r#"{"oauth_token":"","environment":"paper"}"#, M::Empty("oauth_token")),
        (r#"{"oauth_token":" t","environment":"paper"}"#, M::Blank("oauth_token")),
        (r#"{"oauth_token":"t\n","environment":"paper"}"#, M::Blank("oauth_token")),
        (r#"{"oauth_token":"t\r\nx: y","environment":"paper"}"#, M::NotAHeader("oauth_token")),
        (r#"{"oauth_token":7,"environment":"paper"}"#, M::NotText("oauth_token")),
        (r#"{"oauth_token":"t","oauth_token":"u","environment":"paper"}"#, M::Twice),
        (r#"{"environment":"paper"}"#, M::Missing("key_id")),
        (r#"{"oauth_token":"t","key_id":"PK1","environment":"paper"}"#, M::TokenAndKeys),
        (r#"{"oauth_token":"t","key_id":"PK1","secret_key":"s"}"#, M::TokenAndKeys),
        (r#"{"oauth_token":1,"secret_key":"s"}"#, M::TokenAndKeys),
    ] {
        assert_eq!(refusal(payload), expected, "{payload}");
    }
    let utf16 = |mark: &[u8], to_bytes: fn(u16) -> [u8; 2]| {
        let text = r#"{"key_id":"PK1","secret_key":"s"}"#.encode_utf16().flat_map(to_bytes);
        let payload: Vec<u8> = mark.iter().copied().chain(text).collect();
        AlpacaKeys::from_payload(&payload).expect_err("UTF-16")
    };
    for mark in [&b"\xff\xfe"[..], b""] {
        assert_eq!(utf16(mark, u16::to_le_bytes), M::Utf16);
    }
    assert_eq!(utf16(b"\xfe\xff", u16::to_be_bytes), M::Utf16);
    let latin1 = AlpacaKeys::from_payload(b"{\"key_id\":\"PK\xe9\"}").expect_err("Latin-1");
    assert_eq!(latin1, M::NotUtf8);
}

#[test]
fn what_stands_around_the_json_is_ignored() {
    let json = r#"{"key_id":"PK1","secret_key":"s","oauth_token":null,"base_url":null}"#;
    for (before, after) in [
        ("\u{feff}", ""),
        ("", "\n"),
        ("\u{feff}\r\n \t", "\r\n\r\n"),
        ("\n\u{feff}", "\u{feff}"),
        ("\u{a0}", "\u{2028}\u{b}"),
    ] {
        let keys = parse(&format!("{before}{json}{after}")).expect("a key pair");
        assert_eq!((keys.id().expose_secret(), keys.environment()), ("PK1", Environment::Paper));
    }
}

#[test]
fn a_token_opens_the_world_that_the_payload_names() {
    for (environment, named) in [(Environment::Paper, "paper"), (Environment::Live, "live")] {
        for base_url in ["null".to_owned(), format!("\"{}/v2/\"", environment.base_url())] {
            // A token that looks like a paper key is one of either world.
            let payload = format!(
                "\u{feff} {{\"oauth_token\":\"PK-token\",\"environment\":\"{named}\",\"base_url\":{base_url}}}\n"
            );
            let keys = parse(&payload).expect("a token");
            let Credentials::Token(token) = keys.credentials() else { panic!("a token") };
            assert_eq!((token.expose_secret(), keys.environment()), ("PK-token", environment));
            assert_eq!(keys.id().expose_secret(), "PK-token");
        }
    }
}

#[test]
fn the_base_url_decides_before_the_key_ids_prefix() {
    let hosts = [
        (Environment::Paper, "AK1", "https://paper-api.alpaca.markets"),
        (Environment::Live, "PK1", "https://api.alpaca.markets"),
    ];
    for (world, key_id, host) in hosts {
        for end in ["", "/", "/v2", "/v2/"] {
            let payload = |environment: &str| {
                format!(r#"{{"key_id":"{key_id}","secret_key":"s","base_url":"{host}{end}"{environment}}}"#)
            };
            for environment in
                ["", r#","environment":null"#, &format!(r#","environment":"{}""#, world.as_str())]
            {
                assert_eq!(parse(&payload(environment)).expect("one of the two").environment(), world);
            }
            let other = if world == Environment::Paper { "live" } else { "paper" };
            let contradicted = payload(&format!(r#","environment":"{other}""#));
            assert_eq!(refusal(&contradicted), MalformedKeys::Contradiction, "{contradicted}");
        }
    }
}

#[test]
fn a_secret_never_chooses_a_host_of_its_own() {
    for url in [
        "",
        "/",
        "/v2",
        "paper",
        "paper-api.alpaca.markets",
        "http://paper-api.alpaca.markets",
        "HTTPS://paper-api.alpaca.markets",
        "https://Paper-API.alpaca.markets",
        "https://paper-api.alpaca.markets.",
        "https://paper-api.alpaca.markets.evil.com",
        "https://evil.com/paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets@evil.com",
        "https://user:pass@paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets:443",
        "https://paper-api.alpaca.markets:8443/v2",
        "https://paper-api.alpaca.markets/v2?x=1",
        "https://paper-api.alpaca.markets/#",
        "https://paper-api.alpaca.markets//",
        "https://paper-api.alpaca.markets/v2//",
        "https://paper-api.alpaca.markets/v2/v2",
        "https://paper-api.alpaca.markets/v1",
        "https://paper-api.alpaca.markets/V2",
        "https://paper-api.alpaca.markets/v2/account",
        "https://paper-api\u{3002}alpaca\u{ff0e}markets",
        "https://p\u{430}per-api.alpaca.markets",
        "https:\\\\paper-api.alpaca.markets",
        "https:/paper-api.alpaca.markets",
        " https://paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets\n",
        "https://broker-api.alpaca.markets",
        "https://data.alpaca.markets",
        "http://169.254.169.254/v2",
    ] {
        for environment in [None, Some("paper"), Some("live")] {
            let payload = serde_json::json!({
                "key_id": "PK1", "secret_key": "s", "base_url": url, "environment": environment,
            });
            assert_eq!(refusal(&payload.to_string()), MalformedKeys::UnknownHost, "{url:?}");
        }
    }
}

#[test]
fn neither_keys_nor_tokens_can_be_printed() {
    for payload in
        [r#"{"key_id":"PKTEST","secret_key":"hush"}"#, r#"{"oauth_token":"hush","environment":"live"}"#]
    {
        let keys = parse(payload).expect("well-formed");
        let shown = format!("{keys:?} {:?} {:?}", keys.id(), sent(&keys));
        assert!(!shown.contains("PKTEST") && !shown.contains("hush"), "{shown}");
    }
}

/// What goes into headers.
fn sent(keys: &AlpacaKeys) -> Vec<&SecretString> {
    match keys.credentials() {
        Credentials::Pair { key_id, secret_key } => vec![key_id, secret_key],
        Credentials::Token(token) => vec![token],
    }
}

#[test]
fn a_refusal_does_not_quote_the_payload() {
    for payload in [
        r#"{"key_id":{"hush":1}}"#,
        r#"{"key_id":"hush","secret_key":"hush\u0000"}"#,
        "hush",
        "'hush'",
        "[\"hush\"]",
        r#"{"hush":1,"hush":2,}"#,
        r#"{"key_id":"hush","key_id":"hush"}"#,
        r#"{"key_id":"a","secret_key":"b","base_url":"https://hush"}"#,
        r#"{"oauth_token":"hush"}"#,
        r#"{"oauth_token":"hush\u0000","environment":"paper"}"#,
        r#"{"oauth_token":["hush"],"environment":"paper"}"#,
        r#"{"oauth_token":"hush","secret_key":"hush"}"#,
    ] {
        let refusal = refusal(payload);
        assert!(!format!("{refusal} {refusal:?}").contains("hush"), "{payload}");
    }
}

/// The JSON of something that may stand where a text should.
fn any_field() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}".prop_map(|text| serde_json::json!(format!("hush{text}")).to_string()),
        "[ -~]{0,12}".prop_map(|text| serde_json::json!(text).to_string()),
        prop::sample::select(vec![
            "\"paper\"",
            "\"live\"",
            "\"https://paper-api.alpaca.markets/v2\"",
            "\"\"",
            "null",
            "7",
            "{\"hush\":1}",
            "[\"hush\"]",
            "true",
            "hush"
        ])
        .prop_map(str::to_owned),
        "\\\\u[0-9a-f]{4}".prop_map(|escape| format!("\"{escape}\"")),
    ]
}

proptest! {
    #[test]
    fn any_payload_is_refused_or_can_be_sent(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(keys) = AlpacaKeys::from_payload(&payload) {
            for secret in sent(&keys) {
                prop_assert!(reqwest::header::HeaderValue::from_str(secret.expose_secret()).is_ok());
            }
        }
    }

    #[test]
    fn anything_like_a_payload_is_refused_or_can_be_sent_and_is_never_quoted(
        is_pair: bool, key_id in any_field(), secret_key in any_field(), environment in any_field(),
        base_url in any_field(), around in "(\u{feff}|[ \r\n'\"\\[]){0,2}", cut in 0_usize..400,
    ) {
        let keys = match is_pair {
            true => format!(r#""key_id":{key_id},"secret_key":{secret_key}"#),
            false => format!(r#""oauth_token":{key_id}"#),
        };
        let payload = format!(r#"{around}{{{keys},"environment":{environment},"base_url":{base_url}}}"#);
        let cut = payload.floor_char_boundary(cut.min(payload.len()));
        for payload in [&payload[..], &payload[..cut]] {
            match AlpacaKeys::from_payload(payload.as_bytes()) {
                Ok(keys) => for secret in sent(&keys) {
                    let text = secret.expose_secret();
                    let sent = reqwest::header::HeaderValue::from_str(text).expect("a header");
                    prop_assert!(!text.is_empty() && sent.as_bytes() == text.as_bytes());
                },
                Err(refusal) => {
                    let shown = format!("{refusal} {refusal:?}");
                    prop_assert!(!shown.contains("hush"));
                }
            }
        }
    }

    #[test]
    fn keys_come_only_from_objects(
        before in "(\u{feff}|[ \t\r\n\"'\\[{a]){0,3}", after in "(\u{feff}|[ \t\r\n\"'\\]},]){0,3}",
    ) {
        let payload = format!(r#"{before}{{"key_id":"PK1","secret_key":"s"}}{after}"#);
        let ignored = |text: &str| text.chars().all(|c| "\u{feff} \t\r\n".contains(c));
        prop_assert_eq!(parse(&payload).is_ok(), ignored(&before) && ignored(&after));
    }

    #[test]
    fn no_other_host_is_ever_taken(url in "https://(paper-)?api[.]alpaca[.]markets[/.:@?#a-z0-9\\\\]{0,6}") {
        let payload = serde_json::json!({"key_id": "AK1", "secret_key": "s", "base_url": url}).to_string();
        let right = ["", "/", "/v2", "/v2/"].map(|end| format!(".alpaca.markets{end}"));
        let is_right = right.iter().any(|end| url.ends_with(end.as_str()));
        prop_assert_eq!(parse(&payload).is_ok(), is_right);
    }

    #[test]
    fn any_printable_pair_is_read_back(key_id in "[!-~]{1,40}", secret_key in "[!-~]([ -~]{0,58}[!-~])?") {
        let payload = serde_json::json!({"key_id": key_id, "secret_key": secret_key}).to_string();
        let keys = parse(&payload).expect("printable");
        let texts: Vec<_> = sent(&keys).into_iter().map(ExposeSecret::expose_secret).collect();
        prop_assert_eq!(texts, [key_id, secret_key]);
    }
}
