//! From the text of a Rego file to its token trees. It distinguishes comments and strings from
//! code; an expression inside a template string is code.

use super::token_tree::{Delimiter, Node, SyntaxError, Tree};

/// Maximum depth of brackets.
const DEPTH_MAX: usize = 100;
/// Operators of two characters.
const PAIRS: [&str; 5] = [":=", "==", "!=", "<=", ">="];

/// Reads the token trees of a text.
pub(super) fn read(text: &str) -> Result<Vec<Node<'_>>, SyntaxError> {
    Lexer { rest: text, line: 1 }.nodes(None, 0)
}

struct Lexer<'s> {
    rest: &'s str,
    line: u32,
}

impl<'s> Lexer<'s> {
    /// Reads nodes up to the closing character, or to the end of the text.
    fn nodes(&mut self, close: Option<char>, depth: usize) -> Result<Vec<Node<'s>>, SyntaxError> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("brackets are nested more than {DEPTH_MAX} times")));
        }
        let opened_at = self.line;
        let mut nodes = Vec::new();
        loop {
            let is_spaced = self.skip_blanks();
            let line = self.line;
            let Some(next) = self.rest.chars().next() else {
                return match close {
                    None => Ok(nodes),
                    Some(close) => Err(SyntaxError { line: opened_at, problem: format!("`{close}` is missing") }),
                };
            };
            if Some(next) == close {
                self.take(next.len_utf8());
                return Ok(nodes);
            }
            nodes.push(Node { tree: self.tree(next, depth)?, line, is_spaced });
        }
    }

    fn tree(&mut self, next: char, depth: usize) -> Result<Tree<'s>, SyntaxError> {
        match next {
            '(' => self.group(Delimiter::Round, depth),
            '[' => self.group(Delimiter::Square, depth),
            '{' => self.group(Delimiter::Curly, depth),
            '"' => self.string(),
            '`' => self.raw_string(),
            '$' => self.template(depth),
            'a'..='z' | 'A'..='Z' | '_' => Ok(Tree::Word(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_'))),
            '0'..='9' => Ok(Tree::Number(self.number())),
            '.' if self.rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => Ok(Tree::Number(self.number())),
            '.' | ',' | ';' | ':' | '=' | '!' | '<' | '>' | '+' | '-' | '*' | '/' | '%' | '&' | '|' => {
                let bytes = if PAIRS.iter().any(|pair| self.rest.starts_with(pair)) { 2 } else { 1 };
                Ok(Tree::Symbol(self.take(bytes)))
            }
            other => Err(self.error(format!("`{}` is not expected", other.escape_debug()))),
        }
    }

    fn group(&mut self, delimiter: Delimiter, depth: usize) -> Result<Tree<'s>, SyntaxError> {
        self.take(1);
        Ok(Tree::Group(delimiter, self.nodes(Some(delimiter.close()), depth + 1)?))
    }

    /// Reads a string with the escapes of JSON.
    fn string(&mut self) -> Result<Tree<'s>, SyntaxError> {
        let mut is_escaped = false;
        let is_end = |c: char| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        };
        let Some(end) = self.rest.get(1..).and_then(|text| text.find(is_end)) else {
            return Err(self.error("a string has no end".to_owned()));
        };
        let quoted = self.rest.get(..end + 2).unwrap_or_default();
        let text = serde_json::from_str(quoted).map_err(|error| self.error(format!("a string is invalid: {error}")))?;
        self.take(end + 2);
        Ok(Tree::Text(text))
    }

    fn raw_string(&mut self) -> Result<Tree<'s>, SyntaxError> {
        let Some(end) = self.rest.get(1..).and_then(|text| text.find('`')) else {
            return Err(self.error("a raw string has no end".to_owned()));
        };
        let quoted = self.take(end + 2);
        Ok(Tree::Text(quoted.trim_matches('`').to_owned()))
    }

    /// Reads `$"…"`, whose parts in braces are expressions.
    fn template(&mut self, depth: usize) -> Result<Tree<'s>, SyntaxError> {
        self.take(1);
        let Some(quote @ ('"' | '`')) = self.rest.chars().next() else {
            return Err(self.error("`$` is not expected".to_owned()));
        };
        self.take(1);
        let mut nodes = Vec::new();
        loop {
            self.take_while(|c| c != quote && c != '{' && c != '\\');
            match self.rest.chars().next() {
                Some('{') => {
                    self.take(1);
                    nodes.extend(self.nodes(Some('}'), depth + 1)?);
                }
                Some('\\') => {
                    let escaped = self.rest.chars().take(2).map(char::len_utf8).sum();
                    self.take(escaped);
                }
                Some(_) => {
                    self.take(1);
                    return Ok(Tree::Template(nodes));
                }
                None => return Err(self.error("a template string has no end".to_owned())),
            }
        }
    }

    fn number(&mut self) -> &'s str {
        let mut is_exponent = false;
        self.take_while(|c| {
            let is_part = c.is_ascii_alphanumeric() || c == '.' || (is_exponent && matches!(c, '+' | '-'));
            is_exponent = matches!(c, 'e' | 'E');
            is_part
        })
    }

    /// Skips blanks, line breaks and comments; returns true if there were any.
    fn skip_blanks(&mut self) -> bool {
        let before = self.rest.len();
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with('#') {
                return self.rest.len() != before;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn take_while(&mut self, mut is_part: impl FnMut(char) -> bool) -> &'s str {
        let bytes = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        self.take(bytes)
    }

    fn take(&mut self, bytes: usize) -> &'s str {
        let (token, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line = self.line.saturating_add(u32::try_from(token.matches('\n').count()).unwrap_or(u32::MAX));
        self.rest = rest;
        token
    }

    const fn error(&self, problem: String) -> SyntaxError {
        SyntaxError { line: self.line, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees(text: &str) -> Vec<Tree<'_>> {
        read(text).unwrap().into_iter().map(|node| node.tree).collect()
    }

    #[test]
    fn strings_comments_and_code_are_distinguished() {
        assert_eq!(
            trees("a # input.b \" {\n:= \"# \\\"{\\u0061\" `\"\n{` 1.5e+3 .5"),
            [
                Tree::Word("a"),
                Tree::Symbol(":="),
                Tree::Text("# \"{a".into()),
                Tree::Text("\"\n{".into()),
                Tree::Number("1.5e+3"),
                Tree::Number(".5"),
            ]
        );
    }

    #[test]
    fn the_expressions_of_a_template_string_are_code() {
        for text in [r#"$"a {b["}"]} \{c} \" d""#, "$`a {b[\"}\"]} \\{c} d`"] {
            let inner = read(r#"b["}"]"#).unwrap();
            let [Tree::Template(nodes)] = &trees(text)[..] else { panic!("{text}") };
            assert_eq!(nodes, &inner, "{text}");
        }
    }

    #[test]
    fn each_node_has_its_line_and_the_space_before_it() {
        let nodes = read("a.b\n  [\n c]").unwrap();
        let positions: Vec<_> = nodes.iter().map(|node| (node.line, node.is_spaced)).collect();
        assert_eq!(positions, [(1, false), (1, false), (1, false), (2, true)]);
        let Tree::Group(Delimiter::Square, inner) = &nodes[3].tree else { panic!("{nodes:?}") };
        assert_eq!((inner[0].line, inner[0].is_spaced), (3, true));
    }

    #[test]
    fn what_is_not_rego_is_an_error_with_its_line() {
        let deep = "(".repeat(100_000);
        for (text, line, problem) in [
            ("a\n(b", 2, "`)` is missing"),
            ("a\n\n]", 3, "`]` is not expected"),
            ("\"a", 1, "a string has no end"),
            ("\"\\x\"", 1, "a string is invalid"),
            ("`a", 1, "a raw string has no end"),
            ("$\"a", 1, "a template string has no end"),
            ("$a", 1, "`$` is not expected"),
            ("é", 1, "`é` is not expected"),
            (&deep, 1, "brackets are nested more than 100 times"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.line == line && error.problem.starts_with(problem), "{error:?}");
        }
    }
}
