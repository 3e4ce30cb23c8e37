/*
 * The report's page: shows what the address behind # names, from pieces of data that
 * are loaded on demand. Whatever comes from a model or a corpus becomes text, never
 * markup. Layers count from 1, cells from 0.
 */
"use strict";

/* ---- data ---- */

const pieces = new Map(); // name -> promise
const waiting = new Map(); // name -> what fulfils it

/* A list of numbers, written with spaces between. */
function numbers(text) {
    return text ? text.split(" ").map(Number) : [];
}

/* What every file of data/ calls. */
function ffkv_data(name, value) {
    const fulfil = waiting.get(name);
    waiting.delete(name);
    if (fulfil)
        fulfil(value);
}

/* A piece of data; browsers load scripts, but nothing else, from the file system. */
function load(name) {
    if (!pieces.has(name)) {
        pieces.set(name, new Promise((fulfil, reject) => {
            const script = document.createElement("script");
            waiting.set(name, fulfil);
            script.src = `data/${name}.js`;
            script.onload = () => script.remove();
            script.onerror = () => {
                pieces.delete(name);
                reject(new Error(`data/${name}.js cannot be read. Is the report whole?`));
            };
            document.head.append(script);
        }));
        const held = [...pieces.keys()]
            .filter(other => other.startsWith("memories-") || other.startsWith("postings-"));
        if (held.length > 40)
            pieces.delete(held[0]);
    }
    return pieces.get(name);
}

let overview; // data/overview.js

/* ---- making elements ---- */

/* make("td", {class: "number"}, "text", element ...): texts become text nodes. */
function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [attribute, value] of Object.entries(attributes || {}))
        if (typeof value === "function")
            element.addEventListener(attribute, value);
        else if (value !== undefined && value !== null && value !== false)
            element.setAttribute(attribute, value);
    element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
    return element;
}

/* What would not be seen, or would turn the text around it, is shown by its number. */
const HIDDEN = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

function plain(text) {
    return text.replace(HIDDEN, character => character === "\n" ? "\u23ce" : character === "\t" ? "\u21e5"
        : `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);
}

function tokenElement(text) {
    const spaces = /^ */.exec(text)[0].length;
    return make("bdi", {class: "token"},
        spaces ? make("span", {class: "space"}, "\u2423".repeat(spaces)) : null,
        plain(text.slice(spaces)) || (spaces ? null : make("span", {class: "faint"}, "(empty)")));
}

function tokenLink(text) {
    return make("a", {href: address(["search", text])}, tokenElement(text));
}

/* A name that is explained when it is pointed at or has the focus, see showTip. */
function term(name, says) {
    return make("span", {class: "term", tabindex: "0", "data-says": says}, name);
}

const LAYERS = "1 is the first layer.", NUMBERS = "1 is the first layer, 0 its first cell.";

function memoryLink(layer, cell) {
    return make("a", {class: "whole", href: address(["memory", layer, cell])}, `${layer} / ${cell}`);
}

/*
 * columns: [{name, says, number, of: row -> content, sort}]; says: what the name means; order: {sort,
 * descending, link: column -> address}; wide: has the whole width, and on narrow screens a block a row.
 */
function table(columns, rows, {order, wide} = {}) {
    const heads = columns.map(column => {
        const sorted = order && column.sort && column.sort === order.sort;
        const content = order && column.sort
            ? make("button", {type: "button", id: `sort-${column.sort}`, "data-says": column.says,
                click: () => { location.hash = order.link(column); }}, column.name)
            : column.says ? term(column.name, column.says) : column.name;
        return make("th", {scope: "col", class: column.number && "number",
            "aria-sort": sorted && (order.descending ? "descending" : "ascending")}, content);
    });
    // Blocks are no rows and cells any more for those who listen, unless their roles say so.
    const role = name => wide ? name : null;
    const lines = rows.map((row, i) => make("tr", {role: role("row")}, columns.map(column => make("td", {
        class: column.class || (column.number && "number"), role: role("cell"),
        "data-name": wide && column.name,
    }, make("div", {}, column.of(row, i))))));
    return make("div", {class: "scroll"}, make("table", {class: wide && "wide", role: role("table")},
        make("thead", {role: role("rowgroup")}, make("tr", {role: role("row")}, heads)),
        make("tbody", {role: role("rowgroup")}, lines)));
}

function definitions(pairs) {
    return make("dl", {}, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
        .map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

/* A column's name in a table, as a heading has it. */
function label(column) {
    const words = column.replaceAll("_", " ");
    return plain(words.charAt(0).toUpperCase() + words.slice(1));
}

/* ---- numbers ---- */

function short(number) {
    if (typeof number !== "number" || !Number.isFinite(number))
        return "";
    return Number.isInteger(number) ? String(number) : String(Number(number.toPrecision(3)));
}

/* Equally many digits, for columns. */
function digits(number) {
    return Math.abs(number) >= 1000 ? String(Math.round(number)) : number.toPrecision(3);
}

function percent(part) {
    const value = 100 * part;
    return `${value !== 0 && Math.abs(value) < 0.1 ? Number(value.toPrecision(1)) : value.toFixed(1)} %`;
}

function counted(number) {
    return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

function count(number, noun, nouns) {
    return `${counted(number)} ${number === 1 ? noun : nouns || noun + "s"}`;
}

/* ---- addresses ---- */

/* #/memory/14/48?name=value <-> {path: ["memory", "14", "48"], query: {name: value}} */
function address(path, query) {
    const pairs = Object.entries(query || {}).filter(([, value]) => value !== undefined && value !== "")
        .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
    return `#/${path.map(encodeURIComponent).join("/")}${pairs.length ? "?" + pairs.join("&") : ""}`;
}

function parseAddress(hash) {
    const decode = text => {
        try {
            return decodeURIComponent(text);
        } catch {
            return text;
        }
    };
    const [path, query] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
    const pairs = (query || "").split("&").filter(Boolean).map(pair => pair.split(/=(.*)/s).map(decode));
    return {
        path: path.split("/").filter(Boolean).map(decode),
        query: Object.fromEntries(pairs.map(([name, value]) => [name, value || ""])),
    };
}

/* ---- results ---- */

/* A table of the results: rows as objects, numbers as numbers. */
function resultRows(name) {
    const found = overview.tables[name];
    if (!found)
        return null;
    return found.rows.map(row => Object.fromEntries(found.columns.map((column, i) =>
        [column, row[i] !== "" && Number.isFinite(Number(row[i])) ? Number(row[i]) : row[i]])));
}

/* What overview.listed says of the paper's figure of this number: {table, figure, title, caption}. */
function figureOf(number) {
    return overview.listed.find(row => row.figure === `fig${String(number).padStart(2, "0")}`);
}

/* The listed tables that are here, in the order of their figures; one without follows the one before it. */
function listedTables() {
    let figure = "";
    return overview.listed.map(row => ({...row, order: figure = row.figure || figure}))
        .sort((a, b) => a.order < b.order ? -1 : a.order > b.order ? 1 : 0)
        .filter(row => row.title && overview.tables[row.table]);
}

const PAPER_LAYERS = 16;

/* The layers of this model that lie where the paper's from..to do, by depth. */
function layersAtDepth(from, to) {
    const layers = overview.model.layers, depth = layer => (layer - 0.5) / layers;
    const found = [];
    for (let layer = 1; layer <= layers; layer++)
        if (depth(layer) > (from - 1) / PAPER_LAYERS && depth(layer) < to / PAPER_LAYERS)
            found.push(layer);
    const middle = (from - 1 + to) / 2 / PAPER_LAYERS;
    return found.length ? found : [Math.max(1, Math.min(layers, Math.ceil(middle * layers)))];
}

/* Means over several layers count what the column is a share of. */
function weight(row, series) {
    if (series === "stop_word" || series === "short_prefix")
        return row.prefixes * (1 - row.zero_agreement);
    if (["covered", "none", "shallow", "semantic", "both"].includes(series))
        return row.triggers;
    return row.live_keys ?? row.prefixes ?? row.keys ?? 1;
}

/*
 * Tables whose column comparable is 1 in rows that were measured as the paper's were, and what to say of
 * others. A table without the column does not say how, so it is not compared.
 */
const COMPARED_IF_SAID = {
    patterns: rows => rows[0].reader_kind
        ? `${count(rows.reduce((sum, row) => sum + row.keys, 0), "key")}, `
            + `${count(Math.max(...rows.map(row => row.readers)), "reader")} a layer: `
            + [...new Set(rows.map(row => row.reader_kind))].join(", ")
        : "unknown readers",
    active: rows => rows[0].active ? `active: ${rows[0].active}` : "unknown definition of active",
};

/* Why the rows of a table are not set beside the paper's number; null: they are. */
function notComparable(name, rows) {
    return COMPARED_IF_SAID[name] && rows.some(row => row.comparable !== 1)
        ? plain(COMPARED_IF_SAID[name](rows)) : null;
}

/*
 * This model's number for a published one, as {text, layers}; as {differs}, why it is not set beside it; or
 * null where the tables do not have it.
 */
function ownNumber(published) {
    const layers = layersAtDepth(Number(published.from_layer), Number(published.to_layer));
    const inLayers = row => layers.includes(row.layer);
    const topValues = resultRows("top-values");
    const topShare = isCounted => topValues && topValues.length
        ? {text: percent(topValues.filter(isCounted).length / topValues.length), layers} : null;
    if (published.series === "top_100_in_layers")
        return topShare(inLayers);
    if (published.series === "top_100_agree")
        return topShare(row => row.agree_in_50 > 0);
    const column = {covered: row => 1 - row.none, active: row => row.mean}[published.series]
        || (row => row[published.series]);
    const name = figureOf(published.figure)?.table, all = resultRows(name) || [];
    const rows = all.filter(row => inLayers(row) && Number.isFinite(column(row)));
    if (!rows.length)
        return null;
    const differs = notComparable(name, all);
    if (differs)
        return {differs};
    const show = isShare(published) ? percent : short;
    if (published.value === "") {
        const numbers = rows.map(column);
        return {text: `${show(Math.min(...numbers))} to ${show(Math.max(...numbers))}`, layers};
    }
    const total = rows.reduce((sum, row) => sum + weight(row, published.series), 0);
    if (!total)
        return null;
    const share = published.series === "active" ? "mean" : published.series;
    const sum = rows.reduce((sum, row) => sum + weight(row, published.series) * column(row), 0);
    return {text: show(sum / total), layers,
        interval: rows.length === 1 ? interval(rows[0][`${share}_low`], rows[0][`${share}_high`], show) : ""};
}

function isShare(published) {
    return [published.value, published.low, published.high].every(text => !text || Number(text) <= 1)
        && published.series !== "patterns_per_key";
}

function publishedNumber(row) {
    const show = isShare(row) ? percent : short;
    if (row.value !== "")
        return show(Number(row.value));
    return `${show(Number(row.low))} to ${show(Number(row.high))}`;
}

function layerRange(from, to) {
    return Number(from) === Number(to) ? String(from) : `${from} to ${to}`;
}

function publishedTable() {
    if (!overview.published)
        return make("p", {class: "faint"}, "The report was made without the published numbers.");
    const rows = overview.published.rows.map(row =>
        Object.fromEntries(overview.published.columns.map((column, i) => [column, row[i] ?? ""])));
    return table([
        {name: "Where", class: "whole",
            of: row => /^\d+$/.test(row.figure) ? `Figure ${row.figure}` : plain(row.figure)},
        {name: "What", of: row => plain(row.says || row.series.replaceAll("_", " "))},
        {name: "Paper's layers", says: LAYERS, of: row => layerRange(row.from_layer, row.to_layer)},
        {name: "Published", number: true, of: publishedNumber},
        {name: "This model", number: true, of: row => {
            const own = ownNumber(row);
            return own?.text ? [own.text, make("span", {class: "faint"}, own.interval)]
                : make("span", {class: "faint"}, own ? `not comparable (${own.differs})` : "\u2014");
        }},
        {name: "Model's layers", says: LAYERS, of: row => {
            const own = ownNumber(row);
            return own?.layers ? layerRange(own.layers[0], own.layers[own.layers.length - 1]) : "";
        }},
    ], rows, {wide: true});
}

/* What stands behind a number: its 95 % interval, or nothing. */
function interval(low, high, show) {
    return Number.isFinite(low) && Number.isFinite(high) ? ` (${show(low)} to ${show(high)})` : "";
}

/* A column of a result: {name, i, ends: places of its interval or [], quartiles: places or []}. */
function resultColumns(names) {
    const places = (name, endings) => endings.map(ending => names.indexOf(`${name}_${ending}`));
    const parts = names.map((name, i) =>
        ({name, i, ends: places(name, ["low", "high"]), quartiles: places(name, ["p25", "p50", "p75"])}));
    for (const part of parts)
        for (const kind of ["ends", "quartiles"])
            part[kind] = part[kind].includes(-1) ? [] : part[kind];
    const shown = new Set(parts.flatMap(part => [...part.ends, ...part.quartiles]));
    return parts.filter(part => !shown.has(part.i));
}

function resultNumber(row, {i, ends, quartiles}) {
    const number = place => row[place] === "" ? NaN : Number(row[place]);
    const behind = ends.length ? interval(...ends.map(number), short) : "";
    const title = quartiles.length > 0 && row[i] !== ""
        && `quartiles ${quartiles.map(place => short(number(place))).join(", ")}`;
    return make("span", {title}, short(number(i)), behind && make("span", {class: "faint"}, behind));
}

function resultTable({table: name, title}) {
    const {columns, rows} = overview.tables[name];
    const content = make("div", {});
    const details = make("details", {toggle: () => {
        if (!details.open || content.firstChild)
            return;
        const layer = columns.indexOf("layer"), cell = columns.indexOf("cell");
        content.append(table(resultColumns(columns).map(part => {
            const i = part.i, isNumber = rows.every(row => row[i] === "" || Number.isFinite(Number(row[i])));
            return {name: label(part.name), says: i === layer ? LAYERS : undefined, number: isNumber,
                of: row => i === cell && layer >= 0 ? memoryLink(row[layer], row[i])
                    : isNumber ? resultNumber(row, part) : make("bdi", {}, plain(row[i]))};
        }), rows));
    }}, make("summary", {}, title, " ", make("span", {class: "faint"}, `${name}.csv`)), content);
    return details;
}

function showResults() {
    const {model, corpus, counts} = overview;
    const live = overview.layers.reduce((sum, layer) => sum + layer.live, 0);
    const keys = overview.layers.reduce((sum, layer) => sum + layer.keys, 0);
    const tables = listedTables();
    return {title: "Results", content: [
        make("p", {}, `A ${model.architecture} of ${count(model.layers, "layer")}, with ${counted(keys)} `
            + `of its ${counted(model.layers * model.d_ff)} memories in this report. `
            + `${counted(live)} of these keys are live: at least one prefix of `
            + `${corpus ? "\u201c" + plain(corpus.name) + "\u201d" : "the corpus"} `
            + `(${count(counts.sentences || 0, "sentence")}, ${count(counts.tokens || 0, "token")}) `
            + "triggers them."),
        make("h2", {}, "Beside the paper"),
        overview.published && model.layers !== PAPER_LAYERS
            ? make("p", {class: "faint"}, `The paper's model has 16 layers, this one ${model.layers}: `
                + "layers are compared where they lie at the same depth.") : null,
        publishedTable(),
        make("h2", {}, "Tables"),
        tables.length ? make("p", {class: "faint"}, "In brackets behind a share: its 95 % interval.") : null,
        tables.length ? tables.map(resultTable)
            : make("p", {class: "faint"}, "The report was made without tables."),
        overview.traces.length ? [make("h2", {}, "Traces of prompts"),
            make("ul", {class: "traces"}, overview.traces.map(([name, prompts], i) => make("li", {},
                make("a", {href: `traces/${i + 1}.html`}, plain(name)),
                `, ${count(prompts, "prompt")}`)))] : [],
    ]};
}

function showFigures() {
    return {title: "Figures", content: overview.figures.length
        ? [make("div", {class: "figures"}, [...overview.figures].sort().map(file => {
            const name = file.replace(/\.svg$/, "");
            const title = overview.listed.find(row => row.figure === name).caption;
            const number = /^fig0*(\d+)$/.exec(name);
            const caption = number ? `Figure ${number[1]}. ${title}.` : title;
            const image = make("img", {src: `figures/${file}`, alt: caption, loading: "lazy"});
            return make("figure", {}, make("a", {href: `figures/${file}`}, image),
                make("figcaption", {}, caption));
        }))]
        : [make("p", {}, "The report was made without figures.")]};
}

/* ---- the list of memories ---- */

const ROWS_A_PAGE = 100;
const STATES = {"": "all", live: "live", dead: "dead", annotated: "annotated"};

async function layerRows(layer) {
    const data = await load(`layer-${layer}`);
    return data.cell.map((cell, i) => ({
        layer, cell,
        triggers: data.triggers[i], coefficient: data.coefficient[i], confidence: data.confidence[i],
        agree: data.agree[i], agreement: data.triggers[i] ? data.agree[i] / data.triggers[i] : null,
        top: data.tokens[data.top[i]], annotated: data.annotated[i],
    }));
}

/* Rows without a number come last; equal ones by layer and cell. */
function sortRows(rows, name, descending) {
    const sign = descending ? -1 : 1;
    rows.sort((a, b) => {
        const left = a[name], right = b[name];
        if ((left === null) !== (right === null))
            return left === null ? 1 : -1;
        const order = left < right ? -sign : left > right ? sign : 0;
        return order || a.layer - b.layer || a.cell - b.cell;
    });
}

/* A select that goes to an address for each of its values. */
function chooser(id, name, choices, chosen, link) {
    return make("span", {}, make("label", {for: id}, `${name} `),
        make("select", {id, change: event => { location.hash = link(event.target.value); }},
            choices.map(([value, text]) => make("option", {value, selected: value === chosen && ""}, text))));
}

function pager(page, pages, link) {
    if (pages < 2)
        return null;
    return make("nav", {class: "row", "aria-label": "Pages"},
        page > 1 ? make("a", {href: link(page - 1), id: "previous-page"}, "Previous") : null,
        make("span", {}, `Page ${page} of ${counted(pages)}`),
        page < pages ? make("a", {href: link(page + 1), id: "next-page"}, "Next") : null);
}

function pageOf(query, pages) {
    return Math.min(Math.max(1, Math.floor(Number(query.page)) || 1), Math.max(1, pages));
}

async function showLayer([name], query) {
    const known = overview.layers.map(layer => String(layer.layer));
    if (name !== "all" && !known.includes(name))
        return missing(`There is no layer ${plain(name || "")} in this report.`);
    const state = STATES[query.state] ? query.state : "", annotated = overview.annotations.length > 0;
    const columns = [
        {name: "Layer / cell", says: NUMBERS, sort: "cell", of: row => memoryLink(row.layer, row.cell)},
        {name: "Triggers", sort: "triggers", number: true,
            of: row => row.triggers || make("span", {class: "faint"}, "dead")},
        {name: "Coefficient", says: "Of the first trigger: how strongly the key responds to it.",
            sort: "coefficient", number: true,
            of: row => row.coefficient === null ? "" : digits(row.coefficient)},
        {name: "Confidence", says: "The value's largest probability.", sort: "confidence", number: true,
            of: row => digits(row.confidence)},
        {name: "Agreement", says: "Triggers whose next token is the value's top token.",
            sort: "agreement", number: true,
            of: row => row.agreement === null ? "" : `${row.agree} of ${row.triggers}`},
        {name: "Value's top token", sort: "top", of: row => tokenLink(row.top)},
    ];
    const sort = columns.some(column => column.sort === query.sort) ? query.sort : "cell";
    const descending = query.order ? query.order === "down" : false;
    const sorted = {state, sort: sort === "cell" ? "" : sort, order: descending ? "down" : ""};
    const link = changes => address(["layer", name], {...sorted, ...changes});
    const states = {live: row => row.triggers, dead: row => !row.triggers, annotated: row => row.annotated};
    const isShown = Object.hasOwn(states, state) ? states[state] : () => true;
    const shown = name === "all" ? known : [name];
    const rows = (await Promise.all(shown.map(layer => layerRows(Number(layer))))).flat().filter(isShown);
    if (sort !== "cell" || descending)
        sortRows(rows, sort, descending);
    const pages = Math.ceil(rows.length / ROWS_A_PAGE), page = pageOf(query, pages);
    const order = {sort, descending, link: column => link({
        sort: column.sort === "cell" ? "" : column.sort, page: "",
        // Numbers begin with the largest, texts and cells with the first.
        order: column.sort === sort ? (descending ? "" : "down") : column.number ? "down" : "",
    })};
    return {title: name === "all" ? "Memories of all layers" : `Memories of layer ${name}`, content: [
        make("div", {class: "row"},
            chooser("layer", "Layer", [...known.map(layer => [layer, layer]), ["all", "all"]], name,
                value => address(["layer", value], sorted)),
            chooser("state", "Keys",
                Object.entries(STATES).filter(([value]) => value !== "annotated" || annotated), state,
                value => link({state: value})),
            make("span", {class: "faint"}, count(rows.length, "memory", "memories"))),
        make("p", {class: "faint"}, `A key's first ${overview.sizes.top} triggers count here. `
            + "Agreement: those whose next token is the value's top token."),
        rows.length ? table(columns, rows.slice((page - 1) * ROWS_A_PAGE, page * ROWS_A_PAGE), {order})
            : make("p", {}, "No memory is like that."),
        pager(page, pages, number => link({page: number})),
    ]};
}

/* ---- one memory ---- */

const TOKENS_IN_SIGHT = 40;

/* A token, shaded by its coefficient: all the more, the more of largest it is; red where it is negative. */
function shadedElement(text, coefficient, largest) {
    const element = make("span", {class: coefficient < 0 ? "negative" : "positive",
        "data-says": `Coefficient ${coefficient}`}, text);
    element.style.setProperty("--share", (largest ? Math.abs(coefficient) / largest : 0).toFixed(3));
    return element;
}

/* coefficients: the key's at each word, or none. */
function prefixElement(words, coefficients) {
    const joint = overview.joint;
    if (!words.length)
        return make("span", {class: "faint"}, "(beginning of the sentence)");
    const last = words.length - 1, inSight = Math.max(0, last - TOKENS_IN_SIGHT);
    const largest = Math.max(...coefficients.map(Math.abs), 0);
    const shaded = (word, i) => [shadedElement(plain(word), coefficients[i], largest), joint];
    const text = (from, to) => coefficients.length
        ? words.slice(from, to).map((word, i) => shaded(word, from + i))
        : from < to ? plain(words.slice(from, to).join(joint) + joint) : null;
    const lead = joint ? 0 : /^ */.exec(words[last])[0].length; // the mark begins behind the space
    const element = make("bdi", {}, text(inSight, last), " ".repeat(lead),
        make("mark", {"data-says": coefficients.length ? `Coefficient ${coefficients[last]}` : null},
            plain(words[last].slice(lead)) || "\u2423"));
    if (inSight) {
        const more = make("button", {type: "button",
            click: () => { more.replaceWith(...[text(0, inSight)].flat(Infinity)); },
            "aria-label": `Show ${count(inSight, "more token")}`}, "\u2026");
        element.prepend(more);
    }
    return element;
}

/* What the shades show, for those who do not see them. */
function coefficientsElement(coefficients) {
    return make("span", {class: "unseen"}, ` (coefficients: ${coefficients.join(", ")}) `);
}

/* What the names on a memory's page mean: [name, explanation]. */
const TERMS = {
    trigger: ["Trigger",
        "One of the prefixes of the corpus to which the key responds most strongly, the strongest first."],
    coefficient: ["Coefficient", "How strongly the key responds to the prefix, at its last token."],
    prefix: ["Prefix", "The sentence up to the token at which the key responds, which is marked."],
    context: ["Prefix and what followed", "The sentence up to the token at which the key responds, "
        + "which is marked; behind the line, what the key did not see."],
    next: ["Next token",
        "What followed the prefix in the corpus. It agrees when it is the value's most probable token."],
    rank: ["Its rank", "The next token's place when the value orders the tokens that can follow; "
        + "1 is the most probable one."],
    sentence: ["Sentence", "The sentence's number in the corpus, from 0."],
    value: ["Value", "The vector that the memory adds to the residual, here multiplied with the output "
        + "embedding, as if nothing else were added."],
    shade: ["Shade", "Each token of a prefix is shaded by the coefficient that the key has there, "
        + "compared with the prefix's largest: blue, or red where it is negative."],
    coefficients: ["Coefficients in the corpus", "How many of the key's coefficients, at all positions of "
        + "the corpus, are in each range. A bar's height is the number's logarithm; "
        + "over it is that of the triggers."],
    negative: ["Value of negative coefficients", "What a negative coefficient promotes is what the value's "
        + "opposite, -v, does: its most probable tokens are those that v makes least probable."],
    signs: ["Signs of gate and input", "The coefficient of a gated layer is the product of its activated "
        + "gate and its input (also called the up projection), each of which is positive or negative: how "
        + "often which combination occurs in the corpus. What is 0 counts as negative."],
    probability: ["Probability",
        "The token's share in the softmax of the value's products with the output embedding."],
};

/* What the lists of triggers that a key can have are of, see topk-keys(1). */
const LISTS = {
    value: "largest coefficients", abs: "largest absolute values", min: "lowest coefficients",
    "gate+input+": "gate and input positive", "gate+input-": "gate positive, input negative",
    "gate-input+": "gate negative, input positive", "gate-input-": "gate and input negative",
};
const SIGNS = Object.keys(LISTS).filter(name => name.startsWith("gate"));

/* Whether the coefficients of a list are negative: then its value is read as -v. */
function isNegative(list) {
    return ["min", "gate+input-", "gate-input+"].includes(list);
}

const OVERLAP = "For two triggers: the tokens in both, divided by the tokens in either, frequent ones "
        + "left out. The mean over all pairs",
    RANDOM = "random prefixes of the same lengths as the triggers, to compare with";
const ends = (many, word) => [[`Share of triggers that end in the same ${word}`,
    `The largest share of the key's triggers whose prefixes end in the same `
        + `${many === 1 ? "token" : `${many} tokens`}.`, percent],
    [`The ${word} that they end in`, "What the triggers of the share above it have in common."]];

/* The columns of shallow-keys.csv, see shallow-stats(1): [name, explanation, how a number is written]. */
const MEASURES = new Map([
    ["triggers", ["Triggers measured",
        "The triggers that the measures below are about, which may be more than are shown.", short]],
    ...["word", "two words", "three words"].flatMap((word, i) =>
        ends(i + 1, word).map((measure, j) => [`${j ? "" : "same_"}last_${i + 1}`, measure])),
    ["overlap", ["Words that two triggers share", `${OVERLAP} of triggers.`, percent]],
    ["overlap_random", ["Words that two random prefixes share", `The same of ${RANDOM}.`, percent]],
    ["overlap_before", ["Words that two triggers share before their last one",
        `${OVERLAP}, without each trigger's last token.`, percent]],
    ["overlap_before_random", ["Words that two random prefixes share before their last one",
        `The same of ${RANDOM}.`, percent]],
]);

function column(name, of, attributes) {
    return {name: TERMS[name][0], says: TERMS[name][1], of, ...attributes};
}

/* What came behind a prefix, apart from it. */
function followingElement(words) {
    const text = words.join(overview.joint);
    return make("bdi", {class: "following"}, make("span", {class: "unseen"}, "followed by "),
        plain(text.replace(/^ /, "")));
}

function hasFollowing(memory) {
    return memory.triggers.some(trigger => typeof trigger[5] === "string");
}

function hasShades(memory) {
    return memory.triggers.some(trigger => trigger[6]);
}

/* ---- a memory's coefficients ---- */

/* "bin count bin count ...": the count of each bin. */
function binCounts(text) {
    const found = new Array(overview.edges.length).fill(0), list = numbers(text);
    for (let i = 0; i < list.length; i += 2)
        found[list[i]] = list[i + 1];
    return found;
}

/*
 * What is in a bin: the edge nearer to 0 is, the other one is not. The bins beside that of 0 reach to it,
 * the outermost have no end.
 */
function rangeOf(bin) {
    const {edges} = overview, zero = (edges.length - 1) / 2, sign = bin < zero ? -1 : 1;
    if (bin === zero)
        return "0";
    const near = bin === zero + sign ? "0" : String(edges[bin]), far = edges[bin + sign];
    return far === undefined ? `${near} and beyond` : `${near} to ${far}`;
}

function draw(name, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [attribute, value] of Object.entries(attributes))
        element.setAttribute(attribute, value);
    element.append(...children);
    return element;
}

const BAR = 12, BARS_HEIGHT = 90, SCALE_HEIGHT = 18;

/*
 * The picture: a bar for each bin from the first to the last that is not empty, its height the number's
 * logarithm; over it that of the triggers.
 */
function histogramPicture(all, triggers, summary) {
    const first = all.findIndex(Boolean), last = all.findLastIndex(Boolean), zero = (all.length - 1) / 2;
    const most = Math.log10(1 + Math.max(...all));
    const height = number => number ? Math.max(2, BARS_HEIGHT * Math.log10(1 + number) / most) : 0;
    const left = bin => (bin - first) * BAR, bars = [];
    for (let bin = first; bin <= last; bin++) {
        const found = triggers[bin] ? `, ${count(triggers[bin], "trigger")} among them` : "";
        const says = `${rangeOf(bin)}: ${count(all[bin], "prefix", "prefixes")}${found}`;
        const bar = (kind, number) => draw("rect", {class: kind, x: left(bin) + 1, width: BAR - 2,
            y: BARS_HEIGHT - height(number), height: height(number)});
        bars.push(draw("g", {"data-says": says, class: "bar"},
            draw("rect", {class: "area", x: left(bin), width: BAR, y: 0, height: BARS_HEIGHT}),
            bar(bin === zero ? "none" : "all", all[bin]), bar("found", triggers[bin])));
    }
    const label = (bin, anchor) => draw("text", {
        x: left(bin) + (anchor === "end" ? BAR : anchor === "middle" ? BAR / 2 : 0),
        y: BARS_HEIGHT + 14, "text-anchor": anchor,
    }, String(overview.edges[bin]));
    const labels = [first, last]
        .filter((bin, i, list) => Math.abs(bin - zero) > 4 && list.indexOf(bin) === i);
    const width = Math.max(left(last + 1), 8 * BAR), full = BARS_HEIGHT + SCALE_HEIGHT;
    return draw("svg", {class: "histogram", role: "img", "aria-label": summary,
        viewBox: `0 0 ${width} ${full}`, width, height: full},
        ...bars, ...labels.map(bin => label(bin, bin === first ? "start" : "end")),
        ...(first <= zero && zero <= last ? [label(zero, "middle")] : []));
}

function histogramOf(memory) {
    const [all, triggers] = memory.coefficients.map(binCounts), zero = (all.length - 1) / 2;
    const sum = list => list.reduce((a, b) => a + b, 0), total = sum(all);
    if (!total)
        return make("p", {class: "faint"}, "The corpus has no prefix.");
    const share = list => percent(sum(list) / total), found = sum(triggers);
    const negative = sum(all.slice(0, zero)) ? `, ${share(all.slice(0, zero))} are below` : "";
    const parts = [...triggers.keys()].filter(bin => triggers[bin])
        .map(bin => `${triggers[bin]} in ${rangeOf(bin)}`);
    const place = found ? ` The ${count(found, "trigger")} found: ${parts.join(", ")}.` : "";
    const summary = `Of ${count(total, "prefix", "prefixes")} ${share(all.slice(zero + 1))} have `
        + `a coefficient above 0${negative}, ${share([all[zero]])} have 0.${place}`;
    return make("figure", {id: "coefficients"},
        make("div", {class: "scroll"}, histogramPicture(all, triggers, summary)),
        make("figcaption", {}, summary));
}

function distribution(name, tokens, list) {
    return make("div", {}, table([
        {name, of: ([token]) => tokenLink(tokens[token])},
        column("probability", ([, p]) => digits(p), {number: true}),
    ], list));
}

function keyed(columns, row) {
    return Object.fromEntries(columns.map((column, i) => [column, row[i]]));
}

/* The columns of the measures that say something of a memory. */
function measured() {
    return overview.measures.filter(name => !["layer", "cell", "model"].includes(name));
}

function measureElement(name, text) {
    const show = MEASURES.get(name)?.[2];
    return text !== "" && Number.isFinite(Number(text)) ? (show || short)(Number(text)) : plain(text);
}

function measuresOf(memory) {
    return memory.measures.map(row => {
        const texts = keyed(overview.measures, row);
        return definitions(measured().map(name =>
            [MEASURES.has(name) ? term(...MEASURES.get(name)) : label(name),
                measureElement(name, texts[name])]));
    });
}

/* What the names on a memory's page mean. */
function keyOf(memory) {
    const known = memory.measures.length ? measured().map(name => MEASURES.get(name)).filter(Boolean) : [];
    const absent = [hasFollowing(memory) ? "prefix" : "context", hasShades(memory) ? null : "shade",
        memory.coefficients ? null : "coefficients", memory.signs ? null : "signs",
        listsOf(memory).some(({list}) => isNegative(list)) ? null : "negative"];
    const named = Object.entries(TERMS).filter(([name]) => !absent.includes(name)).map(([, term]) => term);
    return make("section", {id: "key"}, make("h2", {}, "Key"), definitions([...named, ...known]));
}

function triggersTable(memory, tokens, shown) {
    const top = memory.top[0][0];
    const patternsOf = i => shown.map((set, j) => set.has(i + 1) ? j + 1 : 0).filter(Boolean).join(" ");
    return table([
        {name: "#", number: true, of: (trigger, i) => i + 1},
        column("coefficient", trigger => digits(trigger[0]), {number: true}),
        column(hasFollowing(memory) ? "context" : "prefix", trigger => {
            const words = list => list.map(token => tokens[token]);
            const coefficients = numbers(trigger[6]);
            return [prefixElement(words(numbers(trigger[4])), coefficients),
                coefficients.length ? coefficientsElement(coefficients) : null,
                hasFollowing(memory) ? followingElement(words([trigger[2], ...numbers(trigger[5])])) : null];
        }, {class: "prefix"}),
        column("next", trigger => [tokenLink(tokens[trigger[2]]),
            trigger[2] === top ? make("span", {class: "agrees"}, " \u2713 agrees") : null]),
        column("rank", trigger => counted(trigger[3]), {number: true}),
        ...(shown.length ? [{name: "Patterns", of: (trigger, i) => patternsOf(i)}] : []),
        column("sentence", trigger => String(trigger[1]), {number: true}),
    ], memory.triggers, {wide: true});
}

/* A memory's lists of triggers: itself, with the first, and what has the others. */
function listsOf(memory) {
    return [{list: [overview.rank].flat()[0], ...memory}, ...(memory.lists || [])];
}

function agreementText({triggers, top}) {
    const agree = triggers.filter(trigger => trigger[2] === top[0][0]).length;
    return `${count(triggers.length, "trigger")} shown; ${agree} of them `
        + `${agree === 1 ? "is" : "are"} followed by the value's top token.`;
}

/* The lists behind the first. */
function furtherLists(memory, tokens) {
    return (memory.lists || []).map(list => [
        make("h2", {}, `Triggers: ${LISTS[list.list]}`),
        list.triggers.length ? [make("p", {}, agreementText(list)), triggersTable(list, tokens, [])]
            : make("p", {class: "faint"}, "None."),
    ]);
}

/* What the value promotes, by the first list of either sign. */
function valuesOf(memory, tokens) {
    const lists = listsOf(memory);
    return [false, true].map(negative => lists.find(({list}) => isNegative(list) === negative))
        .filter(Boolean).map(({list, top, bottom}) => [
            make("h2", {}, isNegative(list) ? TERMS.negative[0] : "Value"),
            make("div", {class: "columns"}, distribution("Most probable", tokens, top),
                bottom.length ? distribution("Least probable", tokens, bottom) : null),
        ]);
}

function signsOf(memory) {
    const total = memory.signs.reduce((a, b) => a + b, 0);
    return [make("h2", {}, TERMS.signs[0]), table([
        {name: "Signs", of: name => LISTS[name]},
        {name: "Positions", number: true, of: (name, i) => counted(memory.signs[i])},
        {name: "Share", number: true, of: (name, i) => total ? percent(memory.signs[i] / total) : ""},
    ], SIGNS)];
}

function patternsTable(patterns, shown) {
    return table([
        {name: "Pattern", number: true, of: (pattern, i) => i + 1},
        {name: "Kind", of: pattern => plain(pattern.kind || "")},
        {name: "Description", of: pattern => make("bdi", {}, plain(pattern.description || ""))},
        {name: "Triggers", number: true, of: (pattern, i) => pattern.shows === undefined ? ""
            : `${shown[i].size} of ${plain(pattern.triggers || "")}`},
        {name: "Reader",
            of: pattern => plain(`${pattern.reader || ""} (${pattern.reader_kind || "unknown kind"})`)},
    ], patterns);
}

async function showMemory([layerName, cellName]) {
    const layer = Number(layerName), cell = Number(cellName);
    const none = () => missing(
        `There is no memory ${plain(cellName || "")} of layer ${plain(layerName || "")} in this report.`);
    if (!overview.layers.some(known => known.layer === layer))
        return none();
    const cells = (await load(`layer-${layer}`)).cell, place = cells.indexOf(cell);
    if (place < 0)
        return none();
    const {tokens, memories} = await load(`memories-${layer}-${Math.floor(cell / overview.sizes.piece)}`);
    const memory = memories.find(other => other.cell === cell);
    const patterns = memory.annotations.map(row => keyed(overview.annotations, row));
    const shown = patterns.map(pattern =>
        new Set((pattern.shows || "").split(/\s+/).filter(Boolean).map(Number)));
    const link = (other, id, text) => other === undefined ? null
        : make("a", {id, rel: id, href: address(["memory", layer, other])}, text);
    return {title: `Layer ${layer}, memory ${cell}`, content: [
        make("nav", {class: "row", "aria-label": "Neighbours"},
            link(cells[place - 1], "prev", `\u2190 ${cells[place - 1]}`),
            link(cells[place + 1], "next", `${cells[place + 1]} \u2192`),
            make("a", {href: address(["layer", layer])}, `All of layer ${layer}`)),
        make("p", {}, memory.triggers.length ? agreementText(memory)
            : "This key is dead: no prefix of the corpus triggers it."),
        make("h2", {}, memory.lists ? `Triggers: ${LISTS[memory.list]}` : "Triggers"),
        memory.triggers.length ? triggersTable(memory, tokens, shown) : make("p", {class: "faint"}, "None."),
        patterns.length
            ? [make("h2", {}, "Patterns that readers noted"), patternsTable(patterns, shown)] : null,
        furtherLists(memory, tokens),
        memory.coefficients ? [make("h2", {}, TERMS.coefficients[0]), histogramOf(memory)] : null,
        memory.signs ? signsOf(memory) : null,
        valuesOf(memory, tokens),
        memory.measures.length ? [make("h2", {}, "Measures"), measuresOf(memory)] : null,
        keyOf(memory),
    ]};
}

/* ---- search ---- */

const SIMILAR = 40, FIRST_RESULTS = 25;

/*
 * The tokens that a query may mean, as places in the list of tokens. meant: those whose text it is, with
 * and without spaces around it, or, where there is none, in other case; all: these and others. A query
 * with a space of its own means the token with that space alone, if there is one.
 */
function findTokens(list, query) {
    const wanted = query.trim(), folded = wanted.toLowerCase();
    const exact = [], spaced = [], same = [], begins = [], contains = [];
    list.text.forEach((text, i) => {
        const trimmed = text.trim(), lower = trimmed.toLowerCase();
        if (text === query)
            exact.push(i);
        else if (wanted && trimmed === wanted)
            spaced.push(i);
        else if (wanted && lower === folded)
            same.push(i);
        else if (wanted && lower.startsWith(folded))
            begins.push(i);
        else if (wanted && lower.includes(folded))
            contains.push(i);
    });
    const words = query !== wanted && exact.length ? exact : [...exact, ...spaced];
    const meant = words.length ? words : same, all = [...exact, ...spaced, ...same];
    return {meant, all: [...all, ...[...begins, ...contains].slice(0, Math.max(0, SIMILAR - all.length))]};
}

/* Rows of memories, [{layer, cell, strength, token}], with each one's top token; tokens: say which one. */
async function resultsTable(found, strength, tokens) {
    const rows = async part => {
        const named = [...new Set(part.map(row => row.layer))];
        const layers = new Map(await Promise.all(
            named.map(async layer => [layer, await load(`layer-${layer}`)])));
        return part.map(row => {
            const data = layers.get(row.layer);
            return {...row, top: data.tokens[data.top[data.cell.indexOf(row.cell)]]};
        });
    };
    const columns = [
        {name: "Layer / cell", says: NUMBERS, of: row => memoryLink(row.layer, row.cell)},
        ...(tokens ? [{name: "Token", of: row => tokenElement(row.token)}] : []),
        {name: strength.name, number: true, of: row => strength.of(row.strength)},
        {name: "Value's top token", of: row => tokenLink(row.top)},
    ];
    const place = make("div", {});
    place.append(table(columns, await rows(found.slice(0, FIRST_RESULTS))));
    if (found.length > FIRST_RESULTS)
        place.append(make("button", {type: "button", click: async () => {
            const all = table(columns, await rows(found));
            place.replaceChildren(all);
            all.querySelector(`tbody tr:nth-child(${FIRST_RESULTS + 1}) a`).focus();
        }}, `Show all ${counted(found.length)}`));
    return place;
}

/* The strongest first; equal ones by layer, cell. */
function byStrength(a, b) {
    return b.strength - a.strength || a.layer - b.layer || a.cell - b.cell;
}

const TRIGGERS = {name: "Triggers", of: number => `${number}`};

function resultsSection(id, name, ...content) {
    return make("section", {id: `found-${id}`}, make("h2", {}, name), ...content);
}

/* One kind of what the index has of some tokens: their memories together. says: "It is in ... of". */
async function postingsSection(list, lists, chosen, kind, {id, name, strength, says}) {
    const totals = chosen.map(i => list[id][i]), found = [], several = chosen.length > 1;
    chosen.forEach((i, place) => {
        const flat = numbers(lists[place][kind]);
        for (let j = 0; j < flat.length; j += 3)
            found.push({layer: flat[j], cell: flat[j + 1], strength: flat[j + 2], token: list.text[i]});
    });
    const memories = total => count(total, "memory", "memories");
    return resultsSection(id, name,
        make("p", {class: "faint"}, says, several
            ? chosen.map((i, place) =>
                [place ? ", " : ": ", tokenElement(list.text[i]), ` ${memories(totals[place])}`])
            : ` ${memories(totals[0])}`,
        totals.some(total => total > overview.sizes.postings)
            ? `; the ${overview.sizes.postings} with the most are listed${several ? " of each" : ""}.` : "."),
        found.length ? await resultsTable(found.sort(byStrength), strength, several) : null);
}

async function tokenSections(list, chosen) {
    const lists = await Promise.all(chosen.map(async i => {
        const piece = list.pieces.findLastIndex(first => first <= i);
        return (await load(`postings-${piece}`))[i - list.pieces[piece]];
    }));
    return [make("p", {}, chosen.length > 1 ? "Tokens " : "Token ", chosen.map((i, place) =>
        [place ? ", " : null, tokenElement(list.text[i]), ` (number ${list.token[i]})`]),
        chosen.length > 1 ? ". Each line says which of them it is about." : null),
    make("div", {class: "columns"}, await Promise.all([
        {id: "value", name: "Values that promote it", strength: {name: "Probability", of: digits},
            says: `It is among the ${overview.sizes.tops} most probable tokens of`},
        {id: "last", name: "Keys whose triggers end with it", strength: TRIGGERS,
            says: "It is the last token of a trigger of"},
        {id: "anywhere", name: "Keys whose triggers contain it", strength: TRIGGERS,
            says: "It is in a trigger of"},
    ].map((section, kind) => postingsSection(list, lists, chosen, kind, section))))];
}

/* Tests of a text: has it the phrase, does it end in it? Whole words, in any case, any space between them. */
function phraseTests(phrase) {
    const characters = [...phrase], unspaced = ["Hani", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr"]
        .map(script => `\\p{scx=${script}}`).join("");
    // An edge of a word is where no letter goes on; scripts without spaces have none.
    const isEdge = character => new RegExp(`(?![${unspaced}])[\\p{L}\\p{M}\\p{N}]`, "u").test(character);
    const words = phrase.split(/\s+/).map(word => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    const whole = (isEdge(characters[0]) ? "(?<![\\p{L}\\p{M}\\p{N}])" : "") + words.join("\\s+")
        + (isEdge(characters[characters.length - 1]) ? "(?![\\p{L}\\p{M}\\p{N}])" : "");
    return {has: new RegExp(whole, "iu"), ends: new RegExp(`${whole}\\s*$`, "iu")};
}

/* How many of a memory's triggers have the phrase, and how many end in it. */
function countPhrase(memory, tokens, {has, ends}) {
    let anywhere = 0, last = 0;
    for (const trigger of memory.triggers) {
        const text = numbers(trigger[4]).map(token => tokens[token]).join(overview.joint);
        if (has.test(text)) {
            anywhere++;
            last += ends.test(text);
        }
    }
    return {anywhere, last};
}

const PIECES_AT_ONCE = 8;

/*
 * Reads all memories: {last, anywhere}, of each the memories with such triggers. advance: told how many
 * were read. Null when nobody waits for it any more.
 */
async function findPhrase(phrase, advance, isWanted) {
    const tests = phraseTests(phrase), found = {last: [], anywhere: []};
    let read = 0;
    for (const {layer} of overview.layers) {
        const {cell: cells} = await load(`layer-${layer}`);
        const groups = [...new Set(cells.map(cell => Math.floor(cell / overview.sizes.piece)))];
        for (let i = 0; i < groups.length; i += PIECES_AT_ONCE) {
            const pieces = await Promise.all(groups.slice(i, i + PIECES_AT_ONCE)
                .map(group => load(`memories-${layer}-${group}`)));
            if (!isWanted())
                return null;
            for (const {tokens, memories} of pieces)
                for (const memory of memories) {
                    const counts = countPhrase(memory, tokens, tests);
                    for (const kind of Object.keys(found))
                        if (counts[kind])
                            found[kind].push({layer, cell: memory.cell, strength: counts[kind]});
                    advance(++read);
                }
        }
    }
    return found;
}

/* A place that fills when all memories were read. */
function phraseSections(phrase, isWanted) {
    const total = overview.layers.reduce((sum, layer) => sum + layer.keys, 0);
    const bar = make("progress", {max: total, value: 0, "aria-label": "Memories that were read"});
    const place = make("div", {id: "phrase"}, make("p", {}, "Reading the triggers of all memories "), bar);
    const sections = async () => {
        const found = await findPhrase(phrase, read => { bar.value = read; }, isWanted);
        if (!found)
            return;
        const section = async (id, name, says) => resultsSection(id, name,
            make("p", {class: "faint"}, `${says} ${count(found[id].length, "memory", "memories")}.`),
            found[id].length ? await resultsTable(found[id].sort(byStrength), TRIGGERS) : null);
        place.replaceChildren(
            make("p", {}, "Text ", make("bdi", {class: "token"}, plain(phrase)),
                `, looked for in the triggers shown, up to ${overview.sizes.top} of each of all `
                + `${count(total, "memory", "memories")}: as whole words, whatever their case and the spaces `
                + "between them. The index has single tokens alone, so the triggers themselves were read: "
                + "no memory is left out."),
            make("div", {class: "columns"},
                await section("last", "Keys whose triggers end with it", "It ends a trigger of"),
                await section("anywhere", "Keys whose triggers contain it", "It is in a trigger of")));
        document.getElementById("status").textContent =
            `The text ends triggers of ${count(found.last.length, "memory", "memories")}`;
    };
    sections().catch(error => place.replaceChildren(make("p", {}, error.message)))
        .finally(() => { place.dataset.done = "true"; });
    return place;
}

async function showSearch([query = ""], {token, as}, isWanted) {
    if (!query.trim() && !query.includes(" "))
        return {title: "Search", content: [make("p", {}, "Enter a word, a phrase of several words, "
            + "or a memory as layer/cell, such as 14/48; layer 1 is the first.")]};
    const list = await load("tokens"), {meant, all} = findTokens(list, query);
    const one = all.find(i => String(list.token[i]) === token);
    const chosen = one !== undefined ? [one] : as === "text" ? [] : meant;
    const isText = !chosen.length && query.trim() !== "";
    const chip = (id, query, isChosen, content) =>
        make("li", {}, make("a", {id, href: query, "aria-current": isChosen && "true"}, content));
    const chips = [
        meant.length > 1 ? chip("token-all", address(["search", query]), chosen.length > 1, "all") : null,
        ...all.map(i => chip(`token-${list.token[i]}`, address(["search", query], {token: list.token[i]}),
            chosen.length === 1 && chosen[0] === i, tokenElement(list.text[i]))),
        all.length && query.trim()
            ? chip("as-text", address(["search", query], {as: "text"}), isText, "as text, in all triggers")
            : null];
    return {title: `Search: ${plain(query)}`, content: [
        all.length ? make("ul", {class: "chips", "aria-label": "Tokens like this, and the text"}, chips)
            : null,
        isText ? phraseSections(query.trim(), isWanted)
            : chosen.length ? await tokenSections(list, chosen)
            : make("p", {}, "No token of the triggers shown, and none that a value lists, has this text."),
    ]};
}

/* Where a query leads: 14/48 to that memory, if the model has it, others to the search. */
function queryAddress(query) {
    const memory = /^\s*(\d+)\s*\/\s*(\d+)\s*$/.exec(query);
    const [layer, cell] = memory ? memory.slice(1).map(Number) : [];
    if (memory && overview && layer >= 1 && layer <= overview.model.layers && cell < overview.model.d_ff)
        return address(["memory", layer, cell]);
    return address(["search", query]);
}

/* ---- last layer, provenance ---- */

const CASES_A_PAGE = 50;

async function showCases(path, query) {
    const total = overview.sizes.cases;
    if (!total)
        return {title: "Last layer",
            content: [make("p", {}, "The report was made without cases of the last layer.")]};
    const {columns, rows} = await load("last-layer");
    const pages = Math.ceil(rows.length / CASES_A_PAGE), page = pageOf(query, pages);
    const isNumber = columns.map((column, i) => !["prefix", "old", "new"].includes(column)
        && rows.every(row => row[i] === "" || Number.isFinite(Number(row[i]))));
    const content = (column, i, text) =>
        isNumber[i] ? (Number.isInteger(Number(text)) ? text : short(Number(text)))
            : column === "old" || column === "new" ? tokenElement(text) : make("bdi", {}, plain(text));
    return {title: "Last layer", content: [
        make("p", {}, "Prefixes at which the last layer's block changes the prediction of the residual "
            + `from the old token to the new one: ${counted(total)} in all`
            + (total > rows.length ? `, of which the first ${counted(rows.length)} are listed.` : ".")),
        table(columns.map((column, i) => ({name: label(column), number: isNumber[i],
            class: column === "prefix" ? "prefix" : undefined, of: row => content(column, i, row[i])})),
        rows.slice((page - 1) * CASES_A_PAGE, page * CASES_A_PAGE), {wide: true}),
        pager(page, pages, number => address(["cases"], {page: number})),
    ]};
}

function optionText(value) {
    return Array.isArray(value) ? value.join(", ") : String(value);
}

function showProvenance() {
    const {name: modelName, model, corpus, tokenizer, counts, history, sizes} = overview;
    const named = object => Object.entries(object || {})
        .map(([name, value]) => [plain(name), plain(optionText(value))]);
    return {title: "Provenance", content: [
        make("h2", {}, "Model"), definitions([["name", plain(modelName)], ...named(model)]),
        make("h2", {}, "Corpus"), definitions([...named(corpus), ...named(counts)]),
        make("h2", {}, "Tokenizer"), definitions(named(tokenizer)),
        make("h2", {}, "Stages"),
        table([
            {name: "Tool", of: stage => plain(stage.tool)},
            {name: "Version", of: stage => plain(stage.version)},
            {name: "Options that shape the result", of: stage => plain(Object.entries(stage.options || {})
                .map(([name, value]) => `${name} ${optionText(value)}`).join(", "))},
        ], [...history, {tool: "report-pages", version: overview.version, options: {top: sizes.top}}]),
        overview.tables.options && [make("h2", {}, "Experiments"),
            table(overview.tables.options.columns.map((column, i) =>
                ({name: label(column), of: row => plain(row[i])})), overview.tables.options.rows)],
        make("h2", {}, "Report"),
        definitions([
            // The date of index.html, where none was given.
            ["date", overview.date ? plain(overview.date) : document.lastModified],
            ["triggers", `up to ${sizes.top} shown of up to ${sizes.found} a key`],
            ["best by", overview.rank && plain([overview.rank].flat().join(", "))],
            ["prefixes", overview.prefixes && plain(overview.prefixes)]]),
    ]};
}

/* ---- the page ---- */

const VIEWS = {results: showResults, figures: showFigures, layer: showLayer, memory: showMemory,
    search: showSearch, cases: showCases, provenance: showProvenance};

function missing(text) {
    return {title: "Not in this report",
        content: [make("p", {}, text), make("p", {}, make("a", {href: "#/"}, "Results"))]};
}

let shows = 0;   // counts what was asked for: of two slow ones the later one stays
let before = ""; // the path that was shown last

async function show() {
    const number = ++shows, hash = location.hash, {path, query} = parseAddress(hash);
    const view = path.length ? path[0] : "results", focused = document.activeElement?.id;
    let page;
    try {
        overview = overview || await load("overview");
        page = Object.hasOwn(VIEWS, view) ? await VIEWS[view](path.slice(1), query, () => number === shows)
            : missing("The address names nothing in this report.");
    } catch (error) {
        page = {title: "The report cannot be shown", content: [make("p", {}, error.message)]};
    }
    if (number !== shows)
        return;
    const main = document.getElementById("main");
    const heading = make("h1", {tabindex: "-1", "aria-describedby": "of"}, page.title);
    const names = overview ? [plain(overview.name), plain(overview.corpus?.name ?? "")].filter(Boolean) : [];
    const of = names.length ? `Model ${names.join(", corpus ")}` : "";
    main.replaceChildren(make("p", {id: "of", class: "faint"}, of), heading,
        ...page.content.flat(Infinity).filter(Boolean));
    document.title = [page.title, ...names, "feed-forward memories"].join(" \u2013 ");
    hideTip();
    document.getElementById("status").textContent = page.title;
    const owner = view === "memory" ? "layer" : view;
    for (const link of document.querySelectorAll("header nav a"))
        if (link.dataset.view === owner)
            link.setAttribute("aria-current", "page");
        else
            link.removeAttribute("aria-current");
    if (view === "search")
        document.getElementById("query").value = path[1] || "";
    moveFocus(heading, path.join("/"), focused);
    document.body.dataset.shown = hash; // the page is what this address names
}

/* To the new page's heading; within a page back to where it was. */
function moveFocus(heading, path, focused) {
    const same = path === before, first = before === "";
    before = path || "/";
    const held = same && focused && document.getElementById(focused);
    if (held)
        held.focus({preventScroll: true});
    else if (!first)
        heading.focus();
    if (!same)
        scrollTo(0, 0);
}

/* ---- explanations ---- */

/* Shows what the element says; Escape, and leaving it, hide that. */
function showTip(element) {
    const tip = document.getElementById("tip");
    hideTip();
    tip.textContent = element.dataset.says;
    tip.hidden = false;
    element.setAttribute("aria-describedby", "tip");
    placeTip();
}

function explained() {
    return document.querySelector("[aria-describedby=tip]");
}

/* Below what it explains, or above it where there is no room, within the window. */
function placeTip() {
    if (!explained())
        return;
    const tip = document.getElementById("tip"), box = explained().getBoundingClientRect();
    const {offsetWidth: width, offsetHeight: height} = tip;
    const {clientWidth, clientHeight} = document.documentElement;
    tip.style.left = `${Math.max(8, Math.min(box.left, clientWidth - width - 8))}px`;
    tip.style.top = `${box.bottom + 4 + height > clientHeight ? box.top - height - 4 : box.bottom + 4}px`;
}

function hideTip() {
    document.getElementById("tip").hidden = true;
    explained()?.removeAttribute("aria-describedby");
}

for (const event of ["focusin", "mouseover"])
    document.addEventListener(event, ({target}) => {
        const element = target.closest?.("[data-says]");
        if (element)
            showTip(element);
        else if (target.id !== "tip")
            hideTip();
    });
document.addEventListener("focusout", hideTip);
document.addEventListener("scroll", placeTip, true); // also when the focus scrolls

document.getElementById("skip").addEventListener("click", event => {
    event.preventDefault(); // the address names what is shown
    document.getElementById("main").focus();
});
document.getElementById("search").addEventListener("submit", event => {
    event.preventDefault();
    location.hash = queryAddress(document.getElementById("query").value);
});
document.addEventListener("keydown", event => {
    if (event.key === "Escape")
        hideTip();
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key === "/" && isPlain && !event.target.closest?.("input, select, textarea")) {
        event.preventDefault();
        document.getElementById("query").select();
    }
});
addEventListener("hashchange", show);
show();
