//! Deletions.

use super::{Version, integer, integers};
use crate::registry::request::{Method, Request};
use crate::{Error, Registry};

/// How far a deletion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delete {
    /// The version is not offered any more, and its id still finds it: records that carry it can be read.
    Soft,
    /// The version is gone for good, which needs a soft deletion first. Records that carry its id cannot be read.
    Permanent,
}

/// Both fail with [`SchemaNotFound`](crate::ErrorKind::SchemaNotFound), also where a soft deletion must come first, with
/// [`Refused`](crate::ErrorKind::Refused) where other schemas refer to this one, or as every request may. A deletion
/// is not sent again after a failure in the middle of it. Dropping a future gives up the waiting only.
impl Registry {
    /// Deletes all versions of `subject`, and returns them.
    ///
    /// # Errors
    /// See above.
    pub async fn delete_subject(&self, subject: &str, how: Delete) -> Result<Vec<i32>, Error> {
        let subject = self.shared.settings.qualified(subject);
        let request = how.on(Request::new(Method::Delete, &["subjects", &subject]));
        let deleted = self.shared.ask_for(&request, integers).await?;
        self.shared.known.forget_subject(&subject);
        Ok(deleted)
    }

    /// Deletes a version of `subject`, and returns its number.
    ///
    /// # Errors
    /// See above.
    pub async fn delete_version(&self, subject: &str, version: impl Into<Version>, how: Delete) -> Result<i32, Error> {
        let subject = self.shared.settings.qualified(subject);
        let version = version.into().to_string();
        let request = how.on(Request::new(Method::Delete, &["subjects", &subject, "versions", &version]));
        let deleted = self.shared.ask_for(&request, integer).await?;
        self.shared.known.forget_subject(&subject);
        Ok(deleted)
    }
}

impl Delete {
    fn on(self, request: Request) -> Request {
        request.with_flag("permanent", self == Delete::Permanent)
    }
}
