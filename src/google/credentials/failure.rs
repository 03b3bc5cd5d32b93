//! Why Google's credentials give no token, in our own words: those of a library may quote a key file, and those of a
//! server may quote what it was sent.

use std::fmt;

/// No token. Nothing in it comes from a file, a variable, a server or a library, except a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoToken {
    /// What is there cannot be used, however often it is asked.
    #[error("{}", said_of_file(*place, flaw))]
    Unusable {
        /// Where it is.
        place: Location,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// Whoever gives the tokens gave none this time.
    #[error("{server} {failure}{}", advice(*server, *failure))]
    Refused {
        /// Who was asked.
        server: TokenServer,
        /// Why it gave none.
        failure: TokenFailure,
    },
}

impl NoToken {
    /// Whether only a person can mend it.
    #[must_use]
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Unusable { .. })
    }
}

/// Where credentials are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names.
    Variable,
    /// What `gcloud auth application-default login` leaves behind.
    Gcloud,
    /// The variable that names the project to bill.
    QuotaProject,
    /// The variable that names the metadata server.
    MetadataHost,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => "the file that GOOGLE_APPLICATION_CREDENTIALS names",
            Self::Gcloud => "gcloud's file application_default_credentials.json",
            Self::QuotaProject => "GOOGLE_CLOUD_QUOTA_PROJECT",
            Self::MetadataHost => "GCE_METADATA_HOST",
        })
    }
}

/// What is wrong with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// Nothing can be read there.
    #[error("it cannot be read")]
    Unreadable,
    /// More than any credentials have.
    #[error("it is too large")]
    TooLarge,
    /// Not a JSON object.
    #[error("it is no JSON object")]
    NoJson,
    /// The name is in the file: it may be anything.
    #[error("it is of a type that is not known")]
    UnknownType,
    /// Google has this kind, but the job cannot use it.
    #[error("credentials of type {0} cannot be used here")]
    Unsupported(&'static str),
    /// A field that these credentials need.
    #[error("its field {0} is missing")]
    Missing(Field),
    /// A number or a list, say.
    #[error("its field {0} is no text")]
    NoText(Field),
    /// Something else than some texts.
    #[error("its field {0} is no list of texts")]
    NoTexts(Field),
    /// Something else than fields of their own.
    #[error("its field {0} is no object")]
    NoObject(Field),
    /// Tokens are asked for there, so that secrets are sent to it.
    #[error("its field {0} is no https URL")]
    NoUrl(Field),
    /// Breaks of lines written as two characters each, for example.
    #[error("its {0} is no PEM text")]
    NoPem(Field),
    /// In the right form, but no key that could sign.
    #[error("its {0} is no RSA key in PKCS #8 form")]
    NoKey(Field),
    /// Nothing that a header can carry.
    #[error("it is not the id of a project")]
    NoProject,
    /// Nothing that a URL can begin with.
    #[error("it is no host, or host and port")]
    NoHost,
    /// Nothing that has a name here.
    #[error("it does not fit together: compare it with newly made ones")]
    Other,
}

/// A field's name, and that of the field that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The field that it is in, if it is in one.
    pub(crate) parent: Option<&'static str>,
    /// Its own name.
    pub(crate) name: &'static str,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent {
            Some(parent) => write!(f, "{parent}.{}", self.name),
            None => f.write_str(self.name),
        }
    }
}

fn said_of_file(place: Location, flaw: &Flaw) -> String {
    match (place, flaw) {
        (Location::Variable, Flaw::Unreadable) => {
            "GOOGLE_APPLICATION_CREDENTIALS names no file that can be read: \
             it takes the path of a file, not what is in it"
                .to_owned()
        }
        _ => format!("{place} cannot be used: {flaw}"),
    }
}

/// Where nobody gives any, credentials have to be brought along.
fn advice(server: TokenServer, failure: TokenFailure) -> &'static str {
    match (server, failure) {
        (TokenServer::Metadata, TokenFailure::Unreachable) => {
            "; outside Google Cloud, run: gcloud auth application-default login"
        }
        _ => "",
    }
}

/// Who gives tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenServer {
    /// That of Google Cloud itself, on the machine that the job runs on.
    Metadata,
    /// Any that is named in a file.
    Named,
}

impl fmt::Display for TokenServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "the metadata server",
            Self::Named => "the token server",
        })
    }
}

/// Why a token server gave no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFailure {
    /// An HTTP status that is no success.
    #[error("answered {0}")]
    Answered(u16),
    /// Nothing within the time for one question.
    #[error("did not answer in time")]
    Silent,
    /// No connection.
    #[error("could not be reached")]
    Unreachable,
    /// A connection that ended too early.
    #[error("broke off its answer")]
    Broken,
    /// Another page, for example.
    #[error("answered something that is no token")]
    NoToken,
    /// Before it could be asked, for example.
    #[error("could not be asked")]
    Other,
}
