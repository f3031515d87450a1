// The viewer's own part: a folder that is dropped or chosen, or an address.

/** Folders deeper than this hold no part of a pipeline. */
const MAX_DEPTH = 8;

/** All files of a dropped folder by path, or the dropped files; with the folder's name. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folder = entries.find((entry) => entry.isDirectory);
  const title = folder?.name ?? "Dropped files";
  const files = new Map();
  const fileOf = (entry) => new Promise((done, failed) => entry.file(done, failed));
  async function entriesOf(directory) {
    const reader = directory.createReader();
    const found = [];
    // A reader gives some entries a call, and none when it is done.
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (some.length === 0) return found;
      found.push(...some);
    }
  }
  async function add(found, prefix, depth) {
    for (const entry of found) {
      if (entry.isFile) files.set(prefix + entry.name, await fileOf(entry));
      else if (depth < MAX_DEPTH) await add(await entriesOf(entry), `${prefix}${entry.name}/`, depth + 1);
    }
  }
  if (folder) await add(await entriesOf(folder), "", 1);
  else await add(entries, "", MAX_DEPTH);
  return { title, files };
}

/** All files of a chosen folder by path, with the folder's name. */
function chosenFiles(list) {
  const files = new Map();
  let title = "Chosen files";
  for (const file of list) {
    const parts = file.webkitRelativePath.split("/");
    if (parts.length > 1) title = parts[0];
    files.set(parts.slice(1).join("/") || file.name, file);
  }
  return { title, files };
}

function startViewer() {
  const at = (id) => document.getElementById(id);
  const [place, status, address] = [at("nwc-page"), at("nwc-status"), at("nwc-address")];
  let latest = 0;

  async function show(title, sourceOf) {
    latest += 1;
    const own = latest;
    const say = (text, isError = false) => {
      if (own !== latest) return;
      status.textContent = text;
      status.classList.toggle("error", isError);
    };
    say("Reading");
    place.replaceChildren();
    try {
      const inspection = await inspect(await sourceOf(), say);
      if (own !== latest) return;
      showInspection(place, title(), inspection);
      document.title = `${visible(title())} · nwc`;
      say("");
    } catch (error) {
      say(error instanceof ViewerError ? error.message : `This cannot be shown: ${error.message}`, true);
    }
  }

  function showFiles(get) {
    let title = "";
    return show(
      () => title,
      async () => {
        const found = await get();
        title = found.title;
        return fileSource(found.files);
      },
    );
  }

  function showAddress(text) {
    let title = "";
    return show(
      () => title,
      async () => {
        const folder = folderAddress(text);
        const parts = folder.pathname.split("/").filter((part) => part && part !== "resolve" && part !== "main");
        title =
          parts
            .map((part) => decodeURIComponent(part))
            .slice(-2)
            .join("/") || folder.host;
        return urlSource(folder);
      },
    );
  }

  at("nwc-folder").addEventListener("change", (event) => showFiles(async () => chosenFiles(event.target.files)));
  at("nwc-open").addEventListener("submit", (event) => {
    event.preventDefault();
    if (address.value.trim()) showAddress(address.value.trim());
  });
  const over = (isOver) => document.body.classList.toggle("over", isOver);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    // The list of what was dropped is empty once this handler has returned: it is asked for at once.
    const found = droppedFiles(event.dataTransfer);
    showFiles(() => found);
  });
  const asked = new URLSearchParams(location.search).get("url");
  if (asked) {
    address.value = asked;
    showAddress(asked);
  }
}

if (typeof document !== "undefined" && document.getElementById("nwc-open") !== null) startViewer();

/** For tests, and for pages that show checkpoints of their own. */
globalThis.nwcViewer = { inspect, fileSource, urlSource, showInspection };
