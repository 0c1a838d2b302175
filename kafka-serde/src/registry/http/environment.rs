//! `SCHEMA_REGISTRY_*` variables as settings.

use std::ffi::OsString;

use super::{OAuth, RegistryBuilder};
use crate::registry::setting;
use crate::{Error, Registry};

impl Registry {
    /// The registry that the environment names:
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `SCHEMA_REGISTRY_URL` | one or more URLs, separated by commas; required |
    /// | `SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO` | `user:password` |
    /// | `SCHEMA_REGISTRY_BEARER_AUTH_TOKEN` | a token that does not expire |
    /// | `SCHEMA_REGISTRY_BEARER_AUTH_ISSUER_ENDPOINT_URL`, `.._CLIENT_ID`, `.._CLIENT_SECRET`, `.._SCOPE` | [`OAuth`] |
    /// | `SCHEMA_REGISTRY_BEARER_AUTH_LOGICAL_CLUSTER`, `.._IDENTITY_POOL_ID` | headers for Confluent Cloud |
    /// | `SCHEMA_REGISTRY_SSL_CA_LOCATION` | a file of authorities, PEM |
    /// | `SCHEMA_REGISTRY_SSL_CERTIFICATE_LOCATION`, `.._SSL_KEY_LOCATION` | files of a client's certificate and key, PEM |
    /// | `SCHEMA_REGISTRY_PROXY` | the URL of an HTTP proxy |
    /// | `SCHEMA_REGISTRY_CONTEXT` | the context that subjects are in |
    ///
    /// The names are those of Confluent's settings, with underscores. An empty variable counts as none.
    ///
    /// # Errors
    /// [`InvalidSetting`](crate::ErrorKind::InvalidSetting) when the URL is missing, a variable is not UTF-8, a file cannot
    /// be read, or as [`RegistryBuilder::build`].
    pub fn from_env() -> Result<Self, Error> {
        builder(|name| std::env::var_os(name))?.build()
    }
}

fn builder(variable: impl Fn(&str) -> Option<OsString>) -> Result<RegistryBuilder, Error> {
    let get = |name: &str| {
        let name = format!("SCHEMA_REGISTRY_{name}");
        // The value is not shown: it may be a secret.
        let text =
            variable(&name).map(|value| value.into_string().map_err(|_| setting(format!("`{name}`: not UTF-8"))));
        Ok::<_, Error>(text.transpose()?.filter(|value| !value.is_empty()))
    };
    let need = |name: &str, why: &str| {
        get(name)?.ok_or_else(|| setting(format!("`SCHEMA_REGISTRY_{name}` is not set: {why}")))
    };
    let file = |name: &str, path: &str| {
        std::fs::read(path)
            .map_err(|error| setting(format!("`SCHEMA_REGISTRY_{name}`: cannot read {path:?}")).with_source(error))
    };
    let mut builder = RegistryBuilder::new(need("URL", "it holds the registry's address, http://host:port")?);
    if let Some(user_info) = get("BASIC_AUTH_USER_INFO")? {
        let (user, password) = user_info
            .split_once(':')
            .ok_or_else(|| setting("`SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO` is not of the form user:password"))?;
        builder = builder.basic_auth(user, password);
    }
    if let Some(token) = get("BEARER_AUTH_TOKEN")? {
        builder = builder.bearer_token(&token);
    }
    if let Some(issuer) = get("BEARER_AUTH_ISSUER_ENDPOINT_URL")? {
        let why = "the token's issuer needs it";
        let mut oauth =
            OAuth::new(issuer, need("BEARER_AUTH_CLIENT_ID", why)?, need("BEARER_AUTH_CLIENT_SECRET", why)?);
        if let Some(scope) = get("BEARER_AUTH_SCOPE")? {
            oauth = oauth.scope(scope);
        }
        builder = builder.oauth(oauth);
    }
    for (name, header) in [
        ("BEARER_AUTH_LOGICAL_CLUSTER", "target-sr-cluster"),
        ("BEARER_AUTH_IDENTITY_POOL_ID", "Confluent-Identity-Pool-Id"),
    ] {
        if let Some(value) = get(name)? {
            builder = builder.header(header, value);
        }
    }
    if let Some(path) = get("SSL_CA_LOCATION")? {
        builder = builder.ca_certificates(file("SSL_CA_LOCATION", &path)?);
    }
    match (get("SSL_CERTIFICATE_LOCATION")?, get("SSL_KEY_LOCATION")?) {
        (Some(chain), Some(key)) => {
            let chain = file("SSL_CERTIFICATE_LOCATION", &chain)?;
            builder = builder.client_certificate(chain, file("SSL_KEY_LOCATION", &key)?);
        }
        (None, None) => {}
        _ => {
            let message = "`SCHEMA_REGISTRY_SSL_CERTIFICATE_LOCATION` and `SCHEMA_REGISTRY_SSL_KEY_LOCATION` are set \
                           together or not at all";
            return Err(setting(message));
        }
    }
    if let Some(proxy) = get("PROXY")? {
        builder = builder.proxy(proxy);
    }
    if let Some(context) = get("CONTEXT")? {
        builder = builder.context(&context);
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Registry, Error> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        builder(find)?.build()
    }

    #[test]
    fn the_url_is_enough() {
        let registry = from(&[("SCHEMA_REGISTRY_URL", "http://a:1"), ("SCHEMA_REGISTRY_CONTEXT", ".eu")]).unwrap();
        assert_eq!(format!("{registry:?}"), r#"Registry { name: "http://a:1", context: "eu", .. }"#);
    }

    #[test]
    fn a_variable_that_is_missing_or_wrong_is_named() {
        for (variable, named) in [
            (("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", "ann"), "BASIC_AUTH_USER_INFO"),
            (("SCHEMA_REGISTRY_BEARER_AUTH_ISSUER_ENDPOINT_URL", "http://i"), "BEARER_AUTH_CLIENT_ID"),
            (("SCHEMA_REGISTRY_SSL_CA_LOCATION", "/nowhere"), "SSL_CA_LOCATION"),
            (("SCHEMA_REGISTRY_SSL_KEY_LOCATION", "/nowhere"), "SSL_CERTIFICATE_LOCATION"),
        ] {
            let error = from(&[("SCHEMA_REGISTRY_URL", "http://a:1"), variable]).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(from(&[("SCHEMA_REGISTRY_URL", "")]).unwrap_err().to_string().contains("SCHEMA_REGISTRY_URL"));
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_utf8_is_named_and_its_value_is_not_shown() {
        use std::os::unix::ffi::OsStringExt;

        for wrong in ["SCHEMA_REGISTRY_URL", "SCHEMA_REGISTRY_BEARER_AUTH_TOKEN", "SCHEMA_REGISTRY_CONTEXT"] {
            let find = |name: &str| match name {
                _ if name == wrong => Some(OsString::from_vec(b"s3cret\xff".to_vec())),
                "SCHEMA_REGISTRY_URL" => Some("http://a:1".into()),
                _ => None,
            };
            let error = builder(find).err().unwrap();
            assert_eq!(error.to_string(), format!("`{wrong}`: not UTF-8"));
            assert!(!format!("{error:?}").contains("s3cret"));
        }
    }
}
