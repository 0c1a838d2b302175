//! Keeps every "latest" fresh, so that no record waits for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Shared;

/// The shortest pause between two rounds, whatever the lifetime: a bound on the load that a wrong setting makes.
const SHORTEST: Duration = Duration::from_millis(10);

impl Shared {
    /// Starts the task that renews what can change, unless it runs. Without an async runtime nothing is renewed.
    ///
    /// The task ends with the last handle, with its runtime, or when nothing is left to renew.
    pub(super) fn keep_fresh(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut refresher = self.known.refresher.lock();
        if refresher.as_ref().is_none_or(|task| task.is_finished()) {
            let lifetime = self.settings.latest_lifetime.max(SHORTEST);
            *refresher = Some(runtime.spawn(refresh(Arc::downgrade(self), lifetime)).abort_handle());
        }
    }
}

async fn refresh(registry: Weak<Shared>, lifetime: Duration) {
    loop {
        // The handle must not be kept alive by the task that serves it.
        tokio::time::sleep(lifetime).await;
        let Some(registry) = registry.upgrade() else { return };
        let moving = registry.known.moving();
        if moving.is_empty() {
            return;
        }
        for (subject, chosen) in moving {
            if let Err(failure) = registry.renew(&subject, &chosen.schema, &chosen.choice).await {
                tracing::warn!(
                    %subject, error = failure.message,
                    "the latest schema could not be renewed; the last one stays in use"
                );
            }
        }
    }
}
