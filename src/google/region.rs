//! Where the job runs, which only the metadata server knows.

use super::credentials::metadata_host;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

const PATH: &str = "/computeMetadata/v1/instance/region";

/// The region's name, such as `us-central1`; nothing where there is no metadata server. `lookup` is the environment.
pub(crate) async fn region(lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    let host = lookup("GCE_METADATA_HOST").filter(|host| !host.is_empty());
    let url = Url::parse(&format!("http://{}{PATH}", host.as_deref().unwrap_or(metadata_host()))).ok()?;
    // It is on this machine and speaks plain HTTP.
    let http = Client::builder().no_proxy().redirect(Policy::none()).tls_certs_only([]).build().ok()?;
    let answer = http.get(url).header("metadata-flavor", "Google").send().await.ok()?;
    let text = answer.error_for_status().ok()?.text().await.ok()?;
    name(&text).map(str::to_owned)
}

/// The name in `projects/<number>/regions/<name>`.
fn name(text: &str) -> Option<&str> {
    let name = text.trim().rsplit('/').next()?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_the_last_part_of_its_path() {
        for (text, expected) in [
            ("projects/123/regions/us-central1", Some("us-central1")),
            ("us-central1\n", Some("us-central1")),
            ("projects/123/regions/", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(name(text), expected, "{text:?}");
        }
    }
}
