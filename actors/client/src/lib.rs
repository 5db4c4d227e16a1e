//! What a customer links: named methods over a transport.
