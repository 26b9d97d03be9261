// dom: building elements and turning figures into text. Text always goes in as text nodes, so
// nothing that a model's file says can become markup.

const SVG = 'http://www.w3.org/2000/svg';

/** h('a', {class: 'x', href: '#', onclick: f}, 'text', node, [more], null) */
export function h(tag, props, ...children) {
    const el = document.createElement(tag);
    for (const [key, value] of Object.entries(props ?? {})) {
        if (value === undefined || value === null || value === false) continue;
        if (key.startsWith('on')) el.addEventListener(key.slice(2), value);
        else if (key === 'value' || key === 'checked' || key === 'hidden' || key === 'disabled')
            el[key] = value;
        else el.setAttribute(key, value === true ? '' : value);
    }
    append(el, children);
    return el;
}

export function append(el, children) {
    for (const child of children.flat(Infinity)) {
        if (child === undefined || child === null || child === false) continue;
        el.append(child instanceof Node ? child : String(child));
    }
}

export function icon(name, extra = '') {
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('class', `icon icon-${name} ${extra}`.trim());
    svg.setAttribute('aria-hidden', 'true');
    svg.setAttribute('focusable', 'false');
    const use = document.createElementNS(SVG, 'use');
    use.setAttribute('href', `#i-${name}`);
    svg.append(use);
    return svg;
}

/** Icon and word together: colour is never the only sign. */
export function badge(kind, iconName, text) {
    return h('span', { class: `badge badge-${kind}` }, icon(iconName), h('span', {}, text));
}

export function iconButton(name, label, onclick, props = {}) {
    return h(
        'button',
        {
            type: 'button',
            class: 'icon-button',
            'aria-label': label,
            title: label,
            onclick,
            ...props,
        },
        icon(name),
    );
}

/** A name in parts that a line may break between. */
export function breakable(name) {
    return String(name)
        .split(/(?<=[._/:])/)
        .flatMap((part, i) => (i ? [h('wbr'), part] : [part]));
}

let announce_timer = 0;
/** Tells screen readers; the delay lets a text that repeats be read again. */
export function announce(text) {
    const live = document.getElementById('live');
    live.textContent = '';
    clearTimeout(announce_timer);
    announce_timer = setTimeout(() => {
        live.textContent = text;
    }, 60);
}

export function bytes(n) {
    if (typeof n !== 'number') return '';
    const units = ['bytes', 'kB', 'MB', 'GB'];
    let i = 0;
    while (n >= 1000 && i < units.length - 1) {
        n /= 1000;
        i += 1;
    }
    return `${i === 0 ? n : n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0)} ${units[i]}`;
}

export function count(n, one, many = `${one}s`) {
    return `${number(n)} ${n === 1 ? one : many}`;
}

export function number(n) {
    return typeof n === 'number' ? n.toLocaleString('en') : '–';
}

/** Milliseconds since 1970 from what the API gives: RFC 3339 text or a number. */
export function millis(t) {
    if (typeof t === 'number') return t < 1e11 ? t * 1000 : t;
    const ms = typeof t === 'string' ? Date.parse(t) : NaN;
    return Number.isNaN(ms) ? null : ms;
}

export function relative(t, now = Date.now()) {
    const ms = millis(t);
    if (ms === null) return '';
    const s = Math.round((now - ms) / 1000);
    if (s < 10) return 'just now';
    if (s < 60) return `${s} s ago`;
    if (s < 3600) return `${Math.floor(s / 60)} min ago`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
    if (s < 86400 * 30) return count(Math.floor(s / 86400), 'day') + ' ago';
    return new Date(ms).toLocaleDateString('en', {
        year: 'numeric',
        month: 'short',
        day: 'numeric',
    });
}

export function timeElement(t) {
    const ms = millis(t);
    if (ms === null) return h('span', {}, '–');
    const iso = new Date(ms).toISOString();
    return h(
        'time',
        { datetime: iso, title: iso.replace('T', ' ').replace(/\.\d+Z$/, ' UTC') },
        relative(ms),
    );
}

/** A duration between two times of a job. */
export function duration(from, to) {
    const a = millis(from),
        b = millis(to);
    if (a === null || b === null) return '';
    const ms = Math.max(0, b - a);
    if (ms < 1000) return `${ms} ms`;
    if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
    return `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
}

export function shape(s) {
    if (!Array.isArray(s)) return s === undefined || s === null ? '?' : String(s);
    return s.length === 0 ? 'scalar' : s.map((d) => d ?? '?').join('×');
}

export function debounce(ms, f) {
    let timer = 0;
    return (...args) => {
        clearTimeout(timer);
        timer = setTimeout(() => f(...args), ms);
    };
}

/** Any JSON value as a short text: findings carry numbers, texts and lists. */
export function plain(v) {
    if (v === undefined || v === null) return '';
    if (Array.isArray(v)) return v.map(plain).join(', ');
    if (typeof v === 'object') {
        return v.availability === 'unavailable'
            ? `unavailable: ${v.reason ?? ''}`
            : JSON.stringify(v);
    }
    return String(v);
}
