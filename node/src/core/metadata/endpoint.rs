//! Where clients reach a node, as the registry keeps it: `host:port`, or `NAME://host:port` for each named listener with
//! commas between. A text without a name is the listener `PLAINTEXT`.

/// The name of a listener that was given none.
pub const PLAINTEXT: &str = "PLAINTEXT";

/// One listener of a node as clients reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// Host without brackets.
    pub host: &'a str,
    /// Port.
    pub port: u16,
}

/// The endpoints of a registered text, in its order; what cannot be read is passed over.
pub fn endpoints(text: &str) -> impl Iterator<Item = Endpoint<'_>> {
    text.split(',').filter_map(endpoint)
}

fn endpoint(text: &str) -> Option<Endpoint<'_>> {
    let (listener, address) = text.split_once("://").unwrap_or((PLAINTEXT, text));
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(Endpoint { listener, host, port: port.parse().ok()? })
}

/// The text of listeners and their `host:port`, a host of IPv6 in brackets.
pub fn registered<'a>(listeners: impl Iterator<Item = (&'a str, String)>) -> String {
    let listeners: Vec<(&str, String)> = listeners.collect();
    match &listeners[..] {
        [(PLAINTEXT, address)] => address.clone(),
        several => {
            let named: Vec<String> =
                several.iter().map(|(name, address)| format!("{name}://{address}")).collect();
            named.join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn what_is_registered_is_read_again() {
        let one = registered([(PLAINTEXT, "[::1]:9092".to_owned())].into_iter());
        assert_eq!(one, "[::1]:9092");
        let expected = Endpoint { listener: PLAINTEXT, host: "::1", port: 9092 };
        assert_eq!(endpoints(&one).collect::<Vec<_>>(), [expected]);
        let two =
            registered([("INSIDE", "node-1:9092".to_owned()), ("OUT", "1.2.3.4:9".to_owned())].into_iter());
        let read: Vec<_> = endpoints(&two).map(|end| (end.listener, end.host, end.port)).collect();
        assert_eq!(read, [("INSIDE", "node-1", 9092), ("OUT", "1.2.3.4", 9)]);
        assert_eq!(endpoints("").count() + endpoints("node-1").count() + endpoints("h:99999").count(), 0);
    }

    quickcheck! {
        fn any_text_is_read(text: String) -> bool {
            endpoints(&text).count() <= text.split(',').count()
        }
    }
}
