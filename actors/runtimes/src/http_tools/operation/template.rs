//! The path of an operation, `/orders/{id}`: texts and the names of parameters.

/// Maximum bytes of a path.
const PATH_BYTES_MAX: usize = 2_000;

/// A path.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct PathTemplate {
    /// Its segments, without the slashes.
    pub(in super::super) segments: Vec<Vec<Piece>>,
}

/// A part of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Piece {
    Text(String),
    Parameter(String),
}

impl PathTemplate {
    /// Parses a path.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let path = path.strip_prefix('/').ok_or("its path does not begin with `/`")?;
        if path.len() > PATH_BYTES_MAX {
            return Err("its path is too long".to_owned());
        }
        Ok(Self { segments: path.split('/').map(parse_segment).collect::<Result<_, _>>()? })
    }

    /// The names of its parameters.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flatten().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Parameter(name) => Some(name.as_str()),
        })
    }
}

fn parse_segment(segment: &str) -> Result<Vec<Piece>, String> {
    let unclosed = || "its path has a bracket without the other one".to_owned();
    let mut pieces = Vec::new();
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(unclosed)?;
        if before.contains('}') || name.contains('{') {
            return Err(unclosed());
        }
        pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
        pieces.push(Piece::Parameter(name.to_owned()));
        rest = after;
    }
    if rest.contains('}') {
        return Err(unclosed());
    }
    pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_texts_and_parameters() {
        let template = PathTemplate::parse("/v1/orders/{id}:archive/{line}-{part}/").unwrap();
        assert_eq!(template.parameters().collect::<Vec<_>>(), ["id", "line", "part"]);
        assert_eq!(template.segments.len(), 5);
        assert_eq!(template.segments[2], [Piece::Parameter("id".into()), Piece::Text(":archive".into())]);
        assert!(template.segments[4].is_empty(), "the slash at the end");
        assert_eq!(PathTemplate::parse("/").unwrap().segments, [Vec::new()]);
        let long = format!("/{}", "x".repeat(3_000));
        for path in ["orders", "/{id", "/id}", "/{a{b}}", "/}{", long.as_str()] {
            assert!(PathTemplate::parse(path).is_err(), "{path}");
        }
    }
}
