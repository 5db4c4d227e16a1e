//! What only a file on a disk can show.
