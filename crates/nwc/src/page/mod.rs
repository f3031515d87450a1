//! An inspection as a page to look at: one HTML file that loads nothing else.
//!
//! The page draws itself with the scripts beside this file, which the repository's `viewer` uses as they are. Names of
//! tensors come from files of strangers: they are data of a JSON text in which no markup can begin, and the scripts
//! hand them to the page as text.

use serde::Serialize;

use crate::report::Inspection;

/// How the page looks.
const STYLE: &str = include_str!("page.css");
/// How it is drawn, in the order in which the parts use one another.
const SCRIPTS: [&str; 7] = [
    include_str!("elements.js"),
    include_str!("groups.js"),
    include_str!("charts.js"),
    include_str!("heatmap.js"),
    include_str!("treemap.js"),
    include_str!("table.js"),
    include_str!("page.js"),
];
/// The page may run its own script and style, and fetch nothing at all.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

#[derive(Serialize)]
struct Data<'a> {
    title: &'a str,
    inspection: &'a Inspection,
}

impl Inspection {
    /// The inspection as one HTML page under the heading `title`, with nothing outside it: figures, charts, a treemap
    /// of the bytes, and a table of all tensors.
    pub fn to_html(&self, title: &str) -> String {
        let data = Data {
            title,
            inspection: self,
        };
        let json = serde_json::to_string(&data);
        let data = as_script_text(&json.expect("numbers and strings under names are always JSON"));
        let title = escaped(title);
        let scripts = SCRIPTS.join("\n");
        format!(
            "<!doctype html>\n\
             <html lang=\"en\">\n\
             <head>\n\
             <meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} · nwc</title>\n\
             <style>\n{STYLE}</style>\n\
             </head>\n\
             <body>\n\
             <main id=\"nwc-page\"><noscript>This page draws itself with JavaScript, which is switched off here. \
             nwc-cli inspect prints the same figures.</noscript></main>\n\
             <script type=\"application/json\" id=\"nwc-data\">{data}</script>\n\
             <script>\n\"use strict\";\n(() => {{\n{scripts}}})();\n</script>\n\
             </body>\n\
             </html>\n"
        )
    }
}

/// JSON in which neither a tag nor a comment can begin. In JSON these characters are there only within strings.
fn as_script_text(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// A text as the content of an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Sums, TensorSummary, Totals};

    const HOSTILE: &str = "</script><script>alert(1)</script><!-- \"'&\u{2028}\u{202e} 重み";

    fn hostile() -> Inspection {
        Inspection {
            format_version: 2,
            generator: HOSTILE.into(),
            fingerprint: "0".repeat(64),
            tensors: vec![TensorSummary {
                name: HOSTILE.into(),
                shape: vec![2, 3],
                dtype: "F32".into(),
                coding: format!("tied to {HOSTILE}"),
                codec: None,
                n_weights: 6,
                n_bytes: 0,
                bpw: 0.0,
                bpw_estimated: None,
                nmse: None,
                nmse_normalized: None,
                reason: Some(HOSTILE.into()),
            }],
            files: [(HOSTILE.to_owned(), "0".repeat(64))].into(),
            provenance: [(HOSTILE.to_owned(), HOSTILE.to_owned())].into(),
            totals: Totals::default(),
            sums: Sums::default(),
        }
    }

    #[test]
    fn markup_in_names_stays_text() {
        let page = hostile().to_html(HOSTILE);
        assert_eq!(page.matches("alert(1)").count(), 9);
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script").count(), 2);
        assert_eq!(page.matches("<!--").count(), 0);
        assert!(page.contains("<title>&lt;/script&gt;&lt;script&gt;alert(1)"));
    }

    #[test]
    fn what_the_page_holds_is_the_inspection() {
        let inspection = hostile();
        let page = inspection.to_html("model");
        let (_, data) = page.split_once("id=\"nwc-data\">").unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["title"], "model");
        assert_eq!(
            data["inspection"],
            serde_json::to_value(&inspection).unwrap()
        );
        let read: Inspection = serde_json::from_value(data["inspection"].clone()).unwrap();
        assert_eq!(read.tensors[0].name, HOSTILE);
    }

    #[test]
    fn nothing_outside_the_page_is_named() {
        let page = hostile().to_html("model");
        let own = "http://www.w3.org/2000/svg";
        for mark in ["http://", "https://", "url(", "@import", "src=", "<link"] {
            let found = page.matches(mark).count() - own.matches(mark).count();
            assert_eq!(found, 0, "{mark}");
        }
    }
}
