//! The keys of the tests, and what signs with them.

use std::path::{Path, PathBuf};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::config::users::LimitsConfig;
use crate::config::{ClaimNames, IssuerConfig, IssuerKeyConfig, TokenAlgorithm};

/// A second of 2023.
pub(crate) const NOW_SECS: i64 = 1_700_000_000;
pub(crate) const ISS: &str = "https://login.example";
pub(crate) const AUDIENCE: &str = "greenroom";

/// What signs a token.
pub(crate) struct SignedWith {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SignedWith {
    /// The key of the tests for this algorithm.
    pub(crate) fn own(algorithm: TokenAlgorithm) -> Self {
        match algorithm {
            TokenAlgorithm::Hs256 => Self::secret(&read("hs256.secret")),
            TokenAlgorithm::Rs256 => {
                let key = EncodingKey::from_rsa_pem(&read("rs256_private.pem")).unwrap();
                Self { algorithm: Algorithm::RS256, key }
            }
            TokenAlgorithm::Es256 => {
                let key = EncodingKey::from_ec_pem(&read("es256_private.pem")).unwrap();
                Self { algorithm: Algorithm::ES256, key }
            }
            TokenAlgorithm::EdDsa => Self::ed("eddsa_private.pem"),
        }
    }

    /// Another key for EdDSA.
    pub(crate) fn other() -> Self {
        Self::ed("eddsa_other_private.pem")
    }

    /// HS256 with these bytes.
    pub(crate) fn secret(secret: &[u8]) -> Self {
        Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret).unwrap() }
    }

    fn ed(file: &str) -> Self {
        Self { algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_pem(&read(file)).unwrap() }
    }
}

pub(crate) fn sign(with: SignedWith, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(with.algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, &with.key).unwrap()
}

/// Claims of a user for a minute.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISS, "aud": AUDIENCE, "sub": "alice", "iat": NOW_SECS, "exp": NOW_SECS + 60,
        "roles": ["agent_operator"], "allowed_categories": ["business_ops"],
    })
}

pub(crate) fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(file)
}

pub(crate) fn read(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).unwrap()
}

/// An issuer with these keys of the tests.
pub(crate) fn issuer_config(keys: &[(Option<&str>, TokenAlgorithm)]) -> IssuerConfig {
    let key = |(kid, algorithm): &(Option<&str>, TokenAlgorithm)| {
        let file = match algorithm {
            TokenAlgorithm::Hs256 => "hs256.secret",
            TokenAlgorithm::Rs256 => "rs256_public.pem",
            TokenAlgorithm::Es256 => "es256_public.pem",
            TokenAlgorithm::EdDsa => "eddsa_public.pem",
        };
        IssuerKeyConfig { kid: kid.map(str::to_owned), algorithm: *algorithm, file: path(file) }
    };
    IssuerConfig {
        name: "login".parse().unwrap(),
        iss: ISS.to_owned(),
        audience: vec![AUDIENCE.to_owned()],
        keys: keys.iter().map(key).collect(),
        jwks_url: None,
        skew_secs: 30,
        tenant: Some("acme".parse().unwrap()),
        tenants: Vec::new(),
        roles: vec!["agent_operator".to_owned(), "approver".to_owned()],
        claims: ClaimNames::default(),
        rate_limit: 100,
        query_limit: 200,
        limits: LimitsConfig::default(),
    }
}
