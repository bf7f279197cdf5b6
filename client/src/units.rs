//! Figures as people read them.

/// Bytes in decimal units, as disks and networks are sold: `999 B`, `1.0 kB`, `12.3 MB`, `4.5 GB`.
pub(crate) fn bytes(bytes: f64) -> String {
    match bytes {
        few if few < 1e3 => format!("{few:.0} B"),
        some if some < 1e6 => format!("{:.1} kB", some / 1e3),
        many if many < 1e9 => format!("{:.1} MB", many / 1e6),
        most => format!("{:.1} GB", most / 1e9),
    }
}
