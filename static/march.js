// march: the choice of a target, as a group of radio buttons filled from GET /v1/marches.

import { h } from './dom.js';
import * as api from './api.js';

let known = null;

export async function marches_load(signal) {
    known ??= await api.marches(signal);
    return known;
}

export function march_title(name) {
    const m = known?.find((x) => x.name === name);
    return m?.title ?? (name ? name[0].toUpperCase() + name.slice(1) : '');
}

const remembered = () => {
    try {
        return localStorage.getItem('march');
    } catch {
        return null;
    }
};

export function march_picker(marches) {
    const last = remembered();
    const chosen = marches.some((m) => m.name === last) ? last : marches[0]?.name;
    return h(
        'fieldset',
        { class: 'marches' },
        h('legend', {}, 'March'),
        h(
            'div',
            { class: 'march-cards' },
            marches.map((m) =>
                h(
                    'label',
                    { class: 'march-card' },
                    h('input', {
                        type: 'radio',
                        name: 'march',
                        value: m.name,
                        checked: m.name === chosen,
                        required: true,
                    }),
                    h('span', { class: 'march-name' }, m.title ?? m.name),
                    m.boards?.length
                        ? h(
                              'span',
                              { class: 'march-boards' },
                              m.boards.map((b) => b.title ?? b.name ?? b).join(', '),
                          )
                        : null,
                ),
            ),
        ),
    );
}

export function march_picked(form) {
    const name = new FormData(form).get('march');
    try {
        localStorage.setItem('march', name);
    } catch {
        /* private mode: no memory, no harm */
    }
    return name;
}
