//! The main job: the flights of January 2013 go out and come in as typed events, and every one is accounted for.
