//! Tests of the shard in virtual time.
