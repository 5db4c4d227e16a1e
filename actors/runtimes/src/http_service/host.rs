//! One host of the configuration, checked.

use url::Url;

use super::HostSettings;
use super::signature::SigningKey;
use crate::outbound::credentials::Credentials;

/// What is done for the requests to a host.
#[derive(Default)]
pub(super) struct Host {
    pub(super) key: Option<SigningKey>,
    pub(super) credentials: Credentials,
    pub(super) allows_private: bool,
    pub(super) is_internal: bool,
}

impl Host {
    /// Checks the settings of a host.
    ///
    /// # Errors
    /// A fragment without a secret.
    pub(super) fn new(name: &str, settings: &HostSettings) -> Result<Self, String> {
        check_name(name)?;
        Ok(Self {
            key: settings.secret.as_ref().map(SigningKey::from_secret).transpose()?,
            credentials: Credentials::new(&settings.credentials)?,
            allows_private: settings.allows_private,
            is_internal: settings.is_internal,
        })
    }

    /// The address with the parameters of the configuration.
    pub(super) fn with_query(&self, mut url: Url) -> Url {
        // Without this test, an address would get an empty query.
        if self.credentials.query().next().is_some() {
            url.query_pairs_mut().extend_pairs(self.credentials.query());
        }
        url
    }
}

/// A name of a host as a URL has it, so that a table is never without effect.
fn check_name(name: &str) -> Result<(), String> {
    let expected = "it is no host such as `api.example`, `10.0.0.1:8080` or `[fd00::1]`";
    let url = Url::parse(&format!("https://{name}/")).map_err(|_| expected.to_owned())?;
    let port = url.port_or_known_default().unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let is_host = name.eq_ignore_ascii_case(host) || name.eq_ignore_ascii_case(&format!("{host}:{port}"));
    if is_host { Ok(()) } else { Err(expected.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{CredentialSettings, Secret};

    #[test]
    fn a_host_is_named_as_in_an_address() {
        for name in ["api.example", "API.example", "api.example:8443", "10.0.0.1:443", "[fd00::1]:80"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["https://api.example", "api.example/path", "user@h", "0x7f.1", "", "a b", "h:99999"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_parameters_of_the_configuration_are_added_to_those_of_the_address() {
        let query = vec![("key".to_owned(), Secret::new("a b&c"))];
        let credentials = CredentialSettings { headers: Vec::new(), query };
        let host = Host::new("h", &HostSettings { credentials, ..HostSettings::default() }).unwrap();
        let url = |text| Url::parse(text).unwrap();
        assert_eq!(host.with_query(url("https://h/x?y=z")).as_str(), "https://h/x?y=z&key=a+b%26c");
        assert_eq!(Host::default().with_query(url("https://h/x")).as_str(), "https://h/x");
    }
}
