//! The client's own two files, exactly as they stand in the document.
