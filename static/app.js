// app: the router. A view is a function (root, params, signal) that fills root; the signal is
// aborted when the user goes elsewhere, which stops the view's requests and timers.

import { h } from './dom.js';
import { home_view, offer_file } from './home.js';
import { job_view } from './job.js';
import { compare_view } from './compare.js';
import { session_ask, session_load, session_needed, signin_view } from './session.js';

const main = document.getElementById('main');
let current = null;
let first = true;

function parse(hash) {
    const [path, query = ''] = hash.replace(/^#/, '').split('?', 2);
    return { parts: path.split('/').filter(Boolean), params: new URLSearchParams(query) };
}

function show() {
    if (location.hash && !location.hash.startsWith('#/')) return;
    const { parts, params } = parse(location.hash);
    const view =
        parts.length === 0
            ? 'home'
            : parts[0] === 'jobs' && parts[1]
              ? 'job'
              : parts[0] === 'compare' && !parts[1]
                ? 'compare'
                : parts[0] === 'signin'
                  ? 'signin'
                  : 'unknown';
    if (view !== 'signin' && session_needed()) return session_ask();
    const id = parts[1] ? decodeURIComponent(parts[1]) : '';

    // The same page with other parameters changes in place: no flash, focus stays.
    if (current?.view === view && current.id === id && current.onparams?.(params))
        return mark_nav(view, params);

    current?.stop.abort();
    const stop = new AbortController();
    current = { view, id, stop, onparams: null };
    const root = h('div', { class: `view view-${view}` });
    main.replaceChildren(root);
    if (view === 'home') current.onparams = home_view(root, params, stop.signal);
    else if (view === 'job') current.onparams = job_view(root, id, params, stop.signal);
    else if (view === 'compare') current.onparams = compare_view(root, params, stop.signal);
    else if (view === 'signin') signin_view(root, params, stop.signal);
    else {
        document.title = 'Not found – BPU Hub';
        root.append(
            h(
                'div',
                { class: 'card' },
                h('h1', { tabindex: '-1' }, 'There is no such page'),
                h('p', {}, h('a', { href: '#/' }, 'Go to the start')),
            ),
        );
    }
    mark_nav(view, params);
    if (!first) {
        window.scrollTo(0, 0);
        root.querySelector('h1')?.focus({ preventScroll: true });
        if (view === 'home' && params.get('view') === 'results')
            document.getElementById('results')?.scrollIntoView();
    }
    first = false;
}

function mark_nav(view, params) {
    const active = view === 'home' ? (params.size ? 'results' : 'home') : '';
    for (const a of document.querySelectorAll('[data-nav]')) {
        if (a.dataset.nav === active) a.setAttribute('aria-current', 'page');
        else a.removeAttribute('aria-current');
    }
}

document.getElementById('skip').addEventListener('click', (e) => {
    e.preventDefault();
    main.focus();
});

// A file may be dropped anywhere on any page.
const veil = document.getElementById('drop-veil');
let depth = 0;
const has_files = (e) => Array.from(e.dataTransfer?.types ?? []).includes('Files');
const veil_set = (n) => {
    depth = Math.max(0, n);
    veil.hidden = depth === 0;
};
addEventListener('dragenter', (e) => {
    if (has_files(e)) veil_set(depth + 1);
});
addEventListener('dragleave', (e) => {
    if (has_files(e)) veil_set(depth - 1);
});
addEventListener('dragover', (e) => {
    if (has_files(e)) e.preventDefault();
});
addEventListener('drop', (e) => {
    if (!has_files(e)) return;
    e.preventDefault();
    veil_set(0);
    const file = e.dataTransfer.files[0];
    if (!file) return;
    offer_file(file);
    if (parse(location.hash).parts.length) location.hash = '#/';
});

addEventListener('unauthorized', session_ask);
addEventListener('hashchange', show);
session_load().then(show);
