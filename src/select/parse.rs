//! From text to terms, with mistakes told where they are.

use std::fmt;
use std::io;
use std::path::Path;

use super::{Pattern, Subject, Term, Words};

/// Longest filter, in octets. Longer lists are files.
const LENGTH_MAX: usize = 64 * 1024;
/// Most lines of a file of names.
const LINES_MAX: usize = 100_000;
/// Parentheses and `not` within each other.
const DEPTH_MAX: usize = 50;
/// So much is quoted before and behind a mistake, in characters.
const QUOTED: usize = 50;

/// What is wrong with a filter: a line that says it, then the text with the place marked below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFilter {
    what: String,
    /// The text around the mistake.
    quote: String,
    /// The mistake's place in the quote, and its length, in characters.
    at: usize,
    length: usize,
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.quote.is_empty() {
            return Ok(());
        }
        write!(f, "\n  {}\n  {}{}", self.quote, " ".repeat(self.at), "^".repeat(self.length))
    }
}

impl std::error::Error for BadFilter {}

impl BadFilter {
    /// About `length` characters from character `at` of `text`.
    fn new(what: impl Into<String>, text: &str, at: usize, length: usize) -> BadFilter {
        let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let from = at.saturating_sub(QUOTED);
        let mut rest = text.chars().skip(from).map(visible);
        let mut quote: String = rest.by_ref().take(at - from + length.min(QUOTED) + QUOTED).collect();
        let mut at = at - from;
        if rest.next().is_some() {
            quote.push('…');
        }
        if from > 0 {
            quote.insert(0, '…');
            at += 1;
        }
        BadFilter { what: what.into(), quote, at, length: length.clamp(1, QUOTED) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Comma,
    Open,
    Close,
    Equal,
    NotEqual,
    And,
    Or,
    Not,
    Word { text: String, quoted: bool },
    File(String),
    End,
}

/// A token with its place, in characters.
#[derive(Debug, Clone)]
struct Placed {
    token: Token,
    at: usize,
    length: usize,
}

/// A filter's terms.
pub fn parse(text: &str, read: &mut dyn FnMut(&Path) -> io::Result<String>) -> Result<Term, BadFilter> {
    if text.len() > LENGTH_MAX {
        let what = format!("the filter is longer than {LENGTH_MAX} octets: put the names into a file, and write @FILE");
        return Err(BadFilter::new(what, "", 0, 0));
    }
    let tokens = tokens(text)?;
    if tokens.len() == 1 {
        let what =
            "the filter is empty: name hosts, groups or facts, such as web01, 'web*' or role=web; '*' is all hosts";
        return Err(BadFilter::new(what, "", 0, 0));
    }
    let mut parser = Parser { text, tokens, next: 0, depth: 0, read };
    let root = parser.any()?;
    let rest = parser.peek().clone();
    match rest.token {
        Token::End => Ok(root),
        Token::Close => Err(parser.bad("this parenthesis closes none that was opened", &rest)),
        Token::Equal | Token::NotEqual => {
            Err(parser.bad("what is compared? Write a fact's name before it: role=web", &rest))
        }
        _ => Err(parser.bad("write a comma, 'and' or 'or' before this", &rest)),
    }
}

fn tokens(text: &str) -> Result<Vec<Placed>, BadFilter> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let begun = at;
        let bad = |what: &str, length: usize| BadFilter::new(what, text, begun, length);
        let follows = chars.get(at + 1).copied();
        at += 1;
        let token = match c {
            c if c.is_whitespace() => continue,
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '=' if matches!(follows, Some('=' | '~')) => {
                return Err(bad("write = to compare; values may be patterns", 2));
            }
            '=' => Token::Equal,
            '!' if follows == Some('=') => {
                at += 1;
                Token::NotEqual
            }
            '!' => return Err(bad("write 'not' for !", 1)),
            '&' => return Err(bad("write 'and' for &", if follows == Some('&') { 2 } else { 1 })),
            '|' => return Err(bad("write 'or' for |", if follows == Some('|') { 2 } else { 1 })),
            '<' | '>' => return Err(bad("facts are text: only = and != compare them", 1)),
            ';' => return Err(bad("write a comma for ;", 1)),
            '[' | ']' | '{' | '}' => return Err(bad("patterns know only * for any characters and ? for one", 1)),
            '\'' | '"' => Token::Word { text: quoted(text, &chars, &mut at)?, quoted: true },
            '@' => {
                let path = match follows {
                    Some('\'' | '"') => {
                        at += 1;
                        quoted(text, &chars, &mut at)?
                    }
                    _ => bare(&chars, &mut at),
                };
                if path.is_empty() {
                    return Err(bad("name a file behind @: @hosts.txt", 1));
                }
                Token::File(path)
            }
            c if is_bare(c) => {
                at = begun;
                let word = bare(&chars, &mut at);
                match word.to_ascii_lowercase().as_str() {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    _ => Token::Word { text: word, quoted: false },
                }
            }
            _ => return Err(bad("a name or value that holds this must be in quotes: 'like this'", 1)),
        };
        tokens.push(Placed { token, at: begun, length: at - begun });
    }
    tokens.push(Placed { token: Token::End, at: chars.len(), length: 1 });
    Ok(tokens)
}

/// What a word is made of outside of quotes.
fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || "._-*?+:/@~%".contains(c)
}

fn bare(chars: &[char], at: &mut usize) -> String {
    let word: String = chars[*at..].iter().take_while(|c| is_bare(**c)).collect();
    *at += word.chars().count();
    word
}

/// Up to the quote that closes; `at` stands behind the one that opens.
fn quoted(text: &str, chars: &[char], at: &mut usize) -> Result<String, BadFilter> {
    let mark = chars[*at - 1];
    let word: String = chars[*at..].iter().take_while(|c| **c != mark).collect();
    let end = *at + word.chars().count();
    if end == chars.len() {
        return Err(BadFilter::new("this quote is never closed", text, *at - 1, 1));
    }
    *at = end + 1;
    Ok(word)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
    read: &'a mut dyn FnMut(&Path) -> io::Result<String>,
}

impl Parser<'_> {
    fn bad(&self, what: impl Into<String>, place: &Placed) -> BadFilter {
        BadFilter::new(what, self.text, place.at, place.length)
    }

    fn peek(&self) -> &Placed {
        &self.tokens[self.next]
    }

    fn take(&mut self) -> Placed {
        let taken = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        taken
    }

    /// Alternatives: `a or b`, `a,b`.
    fn any(&mut self) -> Result<Term, BadFilter> {
        let mut terms = Vec::new();
        let (mut comma, mut compound) = (None, None);
        loop {
            let begun = self.peek().clone();
            let (term, is_compound) = self.all()?;
            if is_compound {
                compound.get_or_insert(begun);
            }
            match (terms.last_mut(), term) {
                // One table for a list of words, however long.
                (Some(Term::Words(words)), Term::Words(more)) if words.file.is_none() && more.file.is_none() => {
                    words.append(more);
                }
                (_, term) => terms.push(term),
            }
            match self.peek().token {
                Token::Comma => comma = Some(self.take()),
                Token::Or => drop(self.take()),
                _ => break,
            }
        }
        if let (Some(_), Some(compound)) = (comma, compound) {
            let what = "a comma beside 'and' or 'not' can be read in two ways: write parentheses, \
                        as in (web*,db*) and not web03";
            return Err(self.bad(what, &compound));
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Term::Any(terms) })
    }

    /// Conditions: `a and b`. And whether it is more than one thing without parentheses around it.
    fn all(&mut self) -> Result<(Term, bool), BadFilter> {
        let negated = self.peek().token == Token::Not;
        let mut terms = vec![self.one()?];
        while self.peek().token == Token::And {
            self.take();
            terms.push(self.one()?);
        }
        let several = terms.len() > 1;
        Ok((if several { Term::All(terms) } else { terms.remove(0) }, several || negated))
    }

    fn one(&mut self) -> Result<Term, BadFilter> {
        let place = self.take();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.bad(format!("more than {DEPTH_MAX} parentheses and 'not' within each other"), &place));
        }
        let term = match &place.token {
            Token::Not => Term::Not(Box::new(self.one()?)),
            Token::Open => {
                let term = self.any()?;
                let close = self.take();
                match close.token {
                    Token::Close => term,
                    Token::End => return Err(self.bad("this parenthesis is never closed", &place)),
                    _ => return Err(self.bad("write a comma, 'and', 'or' or ) before this", &close)),
                }
            }
            Token::File(path) => self.file(path, &place)?,
            Token::Word { text, quoted } => self.word(text, *quoted, &place)?,
            Token::Equal | Token::NotEqual => {
                return Err(self.bad("what is compared? Write a fact's name before it: role=web", &place));
            }
            Token::And | Token::Or | Token::Comma | Token::Close | Token::End => {
                return Err(self.bad("here a host, group, pattern or fact is missing", &place));
            }
        };
        self.depth -= 1;
        Ok(term)
    }

    /// A bare word, or the left side of a comparison.
    fn word(&mut self, text: &str, quoted: bool, place: &Placed) -> Result<Term, BadFilter> {
        let not = match self.peek().token {
            Token::Equal => false,
            Token::NotEqual => true,
            _ => {
                let mut words = Words::default();
                words.push(self.pattern(text, quoted, place)?);
                return Ok(Term::Words(words));
            }
        };
        if text.is_empty() || (!quoted && text.contains(['*', '?'])) {
            return Err(self.bad("the left side is the name of one fact, or 'name' or 'group'", place));
        }
        let compared = self.take();
        let value = self.take();
        let pattern = match &value.token {
            Token::Word { text, quoted: true } => Pattern::Exact(text.clone()),
            Token::Word { text, quoted: false } => self.pattern(text, false, &value)?,
            Token::And | Token::Or | Token::Not | Token::File(_) => {
                return Err(self.bad("a value like this must be in quotes", &value));
            }
            _ => return Err(self.bad("here the value is missing; '' is the empty one", &compared)),
        };
        let subject = match text {
            "name" if !quoted => Subject::Name,
            "group" if !quoted => Subject::Group,
            _ => Subject::Fact(text.to_owned()),
        };
        let is = Term::Is(subject, pattern);
        Ok(if not { Term::Not(Box::new(is)) } else { is })
    }

    fn pattern(&self, text: &str, quoted: bool, place: &Placed) -> Result<Pattern, BadFilter> {
        if text.is_empty() {
            return Err(self.bad("a name is missing between the quotes", place));
        }
        match !quoted && text.contains(['*', '?']) {
            true => text.parse().map(Pattern::Glob).map_err(|error| self.bad(format!("{error}"), place)),
            false => Ok(Pattern::Exact(text.to_owned())),
        }
    }

    /// The names in a file.
    fn file(&mut self, path: &str, place: &Placed) -> Result<Term, BadFilter> {
        let text = (self.read)(Path::new(path));
        let text = text.map_err(|error| self.bad(format!("can't read the file {path}: {error}"), place))?;
        let mut words = Words { file: Some(path.to_owned()), ..Words::default() };
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let name = line.trim();
            if name.is_empty() {
                continue;
            }
            if let Some(wrong) = name.chars().position(|c| !is_bare(c) || c == '@') {
                let what = format!("{path}, line {}: a line is one name, group or pattern", number + 1);
                return Err(BadFilter::new(what, name, wrong, 1));
            }
            if number >= LINES_MAX {
                return Err(self.bad(format!("{path} has more than {LINES_MAX} lines"), place));
            }
            words.push(self.pattern(name, false, place)?);
        }
        if words.exact.is_empty() && words.globs.is_empty() {
            return Err(self.bad(format!("the file {path} names no host"), place));
        }
        Ok(Term::Words(words))
    }
}

impl Words {
    /// What stands behind these in the same list.
    fn append(&mut self, more: Words) {
        let mut all: Vec<(usize, Pattern)> = Vec::new();
        all.extend(more.exact.into_iter().map(|(word, at)| (at, Pattern::Exact(word))));
        all.extend(more.globs.into_iter().map(|(at, glob)| (at, Pattern::Glob(glob))));
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().for_each(|(_, pattern)| self.push(pattern));
    }
}
