//! What a run found and did.
