//! What the first shard lists of its folder: files, and folders that are checkpoints.

use serde_json::json;

use super::errors::check_forged;
use crate::Digest;

#[test]
fn paths_stay_below_and_checkpoints_apart() {
    let digest = Digest::of(b"").to_string();
    for path in ["../x", "/etc/x", "a//b", "c:x", "a\\b", "", "./x"] {
        let lists = [
            ("files", json!({ path: digest })),
            ("checkpoints", json!([path])),
        ];
        for (key, list) in lists {
            let expected = "expected a path below the folder";
            check_forged(
                |_, t| t[key] = list,
                &format!("name of a file or checkpoint of the folder is `{path}`, {expected}"),
            );
        }
    }
    let checkpoints: [(&[&str], &str); 5] = [
        (&["b", "a"], "b"),
        (&["a", "a"], "a"),
        (&["a", "a-b", "a/b"], "a"),
        (&["config.json"], "config.json"),
        (&["sub"], "sub"),
    ];
    for (paths, found) in checkpoints {
        check_forged(
            |_, t| {
                t["files"]["sub/x"] = json!(digest);
                t["checkpoints"] = json!(paths);
            },
            &format!(
                "a checkpoint of the folder is `{found}`, \
                 expected sorted paths, none twice, with no file or other checkpoint of this table inside"
            ),
        );
    }
}
