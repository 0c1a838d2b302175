//! A consumer's wrong setting is refused by name before anything is connected, and a secret is never printed.
