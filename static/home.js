// home: the first page. Above, the form that sends a model; below, the list of past results.

import { h } from './dom.js';
import { upload_card } from './upload.js';
import { results_section } from './results.js';

let offered = null;
let take_offered = null;

/** A file dropped on the page: goes to the form, now or as soon as there is one. */
export function offer_file(file) {
    offered = file;
    take_offered?.();
}

export function home_view(root, params, signal) {
    document.title = 'BPU Hub';
    const upload = upload_card(signal);
    const results = results_section(params, signal);
    root.append(
        h('h1', { class: 'visually-hidden', tabindex: '-1' }, 'BPU Hub: check a model for the BPU'),
        upload.element,
        results.element,
    );

    take_offered = () => {
        if (offered) upload.take(offered);
        offered = null;
    };
    signal.addEventListener('abort', () => {
        take_offered = null;
    });
    take_offered();
    return (next) => {
        results.show(next);
        if (next.get('view') === 'results') results.element.scrollIntoView();
        return true;
    };
}
