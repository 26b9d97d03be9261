// sanitise: makes a drawing from outside safe to put into the page. Only what draws is kept: known
// elements, attributes that cannot run or load anything, and references into the drawing itself. The page's
// Content-Security-Policy stands behind this as a second wall.

const SVG = 'http://www.w3.org/2000/svg';
const ELEMENTS = new Set([
    'svg',
    'g',
    'a',
    'path',
    'polygon',
    'polyline',
    'ellipse',
    'circle',
    'rect',
    'line',
    'text',
    'tspan',
    'title',
    'desc',
    'defs',
    'linearGradient',
    'radialGradient',
    'stop',
    'marker',
    'clipPath',
    'use',
]);
const ATTRIBUTES =
    /^(id|class|role|d|points|x|y|x1|x2|y1|y2|cx|cy|r|rx|ry|dx|dy|width|height|viewBox|transform|offset|preserveAspectRatio|fill|fill-opacity|fill-rule|stroke|stroke-[a-z]+|opacity|color|visibility|display|font-[a-z]+|text-[a-z]+|letter-spacing|dominant-baseline|alignment-baseline|marker-[a-z]+|marker[A-Z]\w+|ref[XY]|orient|clip-path|clip-rule|clipPathUnits|gradient[A-Z]\w+|stop-[a-z]+|paint-order|vector-effect|data-[\w-]+|aria-[a-z]+|href)$/;
// Words of a style attribute that have an attribute of the same name; the policy forbids style itself.
const FROM_STYLE =
    /^(fill|fill-opacity|stroke|stroke-[a-z]+|opacity|font-[a-z]+|text-anchor|visibility)$/;

function keep_value(name, value) {
    if (name === 'href') return /^#[\w:.-]+$/.test(value);
    return !/url\(\s*['"]?(?!#)/i.test(value) && !/javascript:|expression\(|@import/i.test(value);
}

function copy(node) {
    if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
    if (
        node.nodeType !== Node.ELEMENT_NODE ||
        node.namespaceURI !== SVG ||
        !ELEMENTS.has(node.localName)
    )
        return null;
    const el = document.createElementNS(SVG, node.localName);
    for (const attr of node.attributes) {
        if (attr.localName === 'style') {
            for (const part of attr.value.split(';')) {
                const [name, value] = part.split(':', 2).map((s) => s.trim());
                if (
                    value &&
                    FROM_STYLE.test(name) &&
                    keep_value(name, value) &&
                    !el.hasAttribute(name)
                )
                    el.setAttribute(name, value);
            }
            continue;
        }
        if (!ATTRIBUTES.test(attr.localName) || !keep_value(attr.localName, attr.value)) continue;
        // An id that the page uses itself would get in its way.
        if (attr.localName === 'id' && document.getElementById(attr.value)) continue;
        el.setAttribute(attr.localName, attr.value);
    }
    // A tooltip that hangs on a link becomes a title, which every browser shows.
    const tip =
        node.localName === 'a' && node.getAttributeNS('http://www.w3.org/1999/xlink', 'title');
    if (tip) el.append(Object.assign(document.createElementNS(SVG, 'title'), { textContent: tip }));
    return el;
}

const PROPERTY =
    /^(fill|fill-opacity|fill-rule|stroke|stroke-[a-z]+|opacity|font|font-[a-z-]+|text-anchor|text-decoration[a-z-]*|visibility|display|letter-spacing|paint-order)$/;

/** Rules that style the drawing and nothing else of the page, in words that cannot load anything. */
function clean_rules(rules, scope) {
    let out = '';
    for (const rule of rules) {
        if (rule instanceof CSSMediaRule)
            out += `@media ${rule.conditionText}{${clean_rules(rule.cssRules, scope)}}`;
        if (
            !(rule instanceof CSSStyleRule) ||
            !rule.selectorText.split(',').every((s) => s.trim().startsWith(`${scope} `))
        )
            continue;
        const words = Array.from(rule.style).filter(
            (p) => PROPERTY.test(p) && keep_value(p, rule.style.getPropertyValue(p)),
        );
        out += `${rule.selectorText}{${words.map((p) => `${p}:${rule.style.getPropertyValue(p)}`).join(';')}}`;
    }
    return out;
}

/** The policy forbids <style> elements; a sheet made by script is allowed, and here it is a checked one. */
function clean_sheet(css, scope) {
    const raw = new CSSStyleSheet();
    raw.replaceSync(css);
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(clean_rules(raw.cssRules, scope));
    return sheet;
}

/** SVG text in; {svg, sheet} out: a clean <svg> element of this document and a style sheet for it that the caller
 * adopts; its rules stand below `scope`. Throws if the text is not an SVG drawing. */
export function sanitised_svg(text, scope = '.bpu-drawing') {
    const styles = [];
    const bare = text.replace(/<style[^>]*>([^<]*)<\/style>/g, (_, css) => {
        styles.push(css);
        return '';
    });
    const parsed = new DOMParser().parseFromString(bare, 'image/svg+xml');
    const source = parsed.documentElement;
    if (
        parsed.querySelector('parsererror') ||
        source.namespaceURI !== SVG ||
        source.localName !== 'svg'
    ) {
        throw new Error('The drawing is not valid SVG.');
    }
    // Without recursion: a drawing may be nested deeper than the stack.
    const root = copy(source);
    const work = [[source, root]];
    while (work.length) {
        const [from, to] = work.pop();
        for (const child of from.childNodes) {
            const made = copy(child);
            if (!made) continue;
            to.append(made);
            if (child.nodeType === Node.ELEMENT_NODE) work.push([child, made]);
        }
    }
    return { svg: root, sheet: clean_sheet(styles.join('\n'), scope) };
}
