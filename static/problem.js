// problem: shows a problem document (RFC 9457): what, where, what to do, and the stable code.

import { h, icon } from './dom.js';

export function problem_card(doc, { heading = 'h2', actions = [] } = {}) {
    const where =
        typeof doc.where === 'object' && doc.where !== null ? JSON.stringify(doc.where) : doc.where;
    const row = (term, value, cls) =>
        value
            ? [h('dt', {}, term), h('dd', { class: cls, 'data-field': term.toLowerCase() }, value)]
            : null;
    return h(
        'section',
        { class: 'card problem', role: 'alert' },
        h(
            'div',
            { class: 'problem-head' },
            icon('error'),
            h(heading, { tabindex: '-1' }, doc.title || 'Something went wrong'),
        ),
        doc.detail && h('p', { class: 'problem-detail', 'data-field': 'detail' }, doc.detail),
        h(
            'dl',
            {},
            row('Where', where, 'mono'),
            row('Hint', doc.hint),
            row('Code', doc.code, 'mono'),
        ),
        actions.length ? h('div', { class: 'actions' }, actions) : null,
    );
}

/** For failures of a request: the Problem of api.js, or a fault of the page itself. */
export function problem_of(error) {
    return (
        error.doc ?? {
            title: 'The page failed',
            detail: String(error.message ?? error),
            code: 'page',
        }
    );
}
