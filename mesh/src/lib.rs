//! Agreement among nodes.
