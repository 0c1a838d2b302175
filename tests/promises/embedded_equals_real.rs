//! A conversation with the embedded broker is the conversation with a real one.
