//! `native:parse_email`: reads a message (RFC 5322, MIME) into its headers, its text and the list of its attachments.

use greenroom_protocol::Cause;
use greenroom_protocol::value::truncate_utf8;
use mail_parser::{Address, MessageParser, MimeHeaders};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid};

/// Maximum bytes of the text of a message in a result.
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Maximum addresses, attachments and servers of a result, each.
const ITEMS_MAX: usize = 100;
/// Maximum bytes of a header in a result.
const HEADER_BYTES_MAX: usize = 1_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The whole message as text: headers, an empty line, and the body.
    message: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    from: Vec<Mailbox>,
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    reply_to: Vec<Mailbox>,
    /// The date with its offset, as RFC 3339.
    date: Option<String>,
    subject: Option<String>,
    message_id: Option<String>,
    /// The message that this one replies to.
    in_reply_to: Option<String>,
    /// The text; that of an HTML message without its tags.
    text: Option<String>,
    text_is_cut: bool,
    attachments: Vec<Attachment>,
    /// The `Received` headers as they are, the newest first.
    received: Vec<String>,
    /// `Authentication-Results` and `Received-SPF` as they are.
    authentication: Vec<String>,
    /// Whether the domain of `Reply-To` is another one than that of `From`.
    replies_go_elsewhere: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Mailbox {
    name: Option<String>,
    address: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Attachment {
    name: Option<String>,
    media_type: Option<String>,
    bytes: usize,
}

/// The tool.
pub(crate) struct ParseEmail;

impl Computation for ParseEmail {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "parse_email";
    const DESCRIPTION: &'static str = "Reads an e-mail (RFC 5322 with MIME) into sender, recipients, date, subject, \
                                       text, attachments, and the headers about its way.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let message = MessageParser::default()
            .parse(arguments.message.as_bytes())
            .filter(|message| message.from().is_some() || message.subject().is_some() || message.date().is_some())
            .ok_or_else(|| invalid("the text is no e-mail: it has neither `From` nor `Subject` nor `Date`"))?;
        let text = message.body_text(0);
        let raw = |name: &str| -> Vec<String> {
            let named = message.headers_raw().filter(|(header, _)| header.eq_ignore_ascii_case(name));
            named.take(ITEMS_MAX).map(|(_, value)| unfold(value)).collect()
        };
        let attachments = message.attachments().take(ITEMS_MAX).map(|part| Attachment {
            name: part.attachment_name().map(cut),
            media_type: part.content_type().map(|kind| match kind.subtype() {
                Some(subtype) => cut(&format!("{}/{subtype}", kind.ctype())),
                None => cut(kind.ctype()),
            }),
            bytes: part.contents().len(),
        });
        let (from, reply_to) = (mailboxes(message.from()), mailboxes(message.reply_to()));
        let domains = |list: &[Mailbox]| -> Vec<String> { list.iter().filter_map(domain).collect() };
        let from_domains = domains(&from);
        Ok(Output {
            replies_go_elsewhere: domains(&reply_to).iter().any(|domain| !from_domains.contains(domain)),
            to: mailboxes(message.to()),
            cc: mailboxes(message.cc()),
            date: message.date().map(|date| date.to_rfc3339()),
            subject: message.subject().map(cut),
            message_id: message.message_id().map(cut),
            in_reply_to: raw("In-Reply-To").first().map(|id| id.trim_matches(['<', '>']).to_owned()),
            text_is_cut: text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX),
            text: text.map(|text| truncate_utf8(&text, TEXT_BYTES_MAX).to_owned()),
            attachments: attachments.collect(),
            received: raw("Received"),
            authentication: [raw("Authentication-Results"), raw("Received-SPF")].concat(),
            from,
            reply_to,
        })
    }
}

fn mailboxes(address: Option<&Address<'_>>) -> Vec<Mailbox> {
    let all = address.into_iter().flat_map(|address| address.iter()).take(ITEMS_MAX);
    all.map(|mailbox| Mailbox { name: mailbox.name().map(cut), address: mailbox.address().map(cut) }).collect()
}

fn domain(mailbox: &Mailbox) -> Option<String> {
    mailbox.address.as_ref()?.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase())
}

fn cut(text: &str) -> String {
    truncate_utf8(text, HEADER_BYTES_MAX).to_owned()
}

/// A header on one line.
fn unfold(value: &str) -> String {
    cut(&value.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::super::computation::compute_json;
    use super::ParseEmail;

    const MESSAGE: &str = "Received: from mx.example.org\r\n by mail.example.com; Mon, 6 Jan 2025 09:00:01 +0000\r\n\
        From: =?UTF-8?Q?J=C3=BCrgen?= <juergen@example.org>\r\nTo: a@example.com, B <b@example.com>\r\n\
        Reply-To: pay@example.net\r\nSubject: Invoice 17\r\nDate: Mon, 6 Jan 2025 10:00:00 +0100\r\n\
        Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nPlease pay 100 EUR.\r\n\
        --x\r\nContent-Type: application/pdf; name=i.pdf\r\nContent-Disposition: attachment; filename=i.pdf\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--x--\r\n";

    #[test]
    fn a_message_is_read() {
        let output = compute_json::<ParseEmail>(json!({ "message": MESSAGE })).unwrap();
        assert_eq!(output["from"], json!([{ "name": "Jürgen", "address": "juergen@example.org" }]));
        assert_eq!(output["to"][1]["address"], json!("b@example.com"));
        assert_eq!((&output["subject"], &output["date"]), (&json!("Invoice 17"), &json!("2025-01-06T10:00:00+01:00")));
        assert_eq!(output["text"].as_str().unwrap().trim(), "Please pay 100 EUR.");
        assert_eq!(output["attachments"], json!([{ "name": "i.pdf", "media_type": "application/pdf", "bytes": 5 }]));
        assert_eq!((&output["replies_go_elsewhere"], &output["message_id"]), (&json!(true), &json!("1@example.org")));
        assert!(output["received"][0].as_str().unwrap().starts_with("from mx.example.org by mail.example.com;"));
    }

    #[test]
    fn hostile_messages_are_read_or_rejected() {
        for message in ["", "no header at all", "\r\n\r\nbody"] {
            let result = compute_json::<ParseEmail>(json!({ "message": message }));
            assert!(result.is_err_and(|cause| cause.code == ErrorCode::InvalidInput), "{message:?}");
        }
        let nested = format!(
            "From: a@example.com\r\n{}",
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n".repeat(5_000)
        );
        let many = format!("From: {}\r\n\r\nx", "a@example.com,".repeat(10_000));
        let long = format!("Subject: {}\r\n\r\n{}", "s".repeat(5_000), "t".repeat(100_000));
        for message in [nested, many] {
            assert!(compute_json::<ParseEmail>(json!({ "message": message })).is_ok_and(|output| output.is_object()));
        }
        let output = compute_json::<ParseEmail>(json!({ "message": long })).unwrap();
        assert_eq!((output["subject"].as_str().unwrap().len(), &output["text_is_cut"]), (1_000, &json!(true)));
    }
}
