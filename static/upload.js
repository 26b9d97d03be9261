// upload: the form that sends a model: file, march, options; then the bar of the upload.

import { h, icon, bytes, announce } from './dom.js';
import * as api from './api.js';
import { march_picker, march_picked, marches_load } from './march.js';
import { problem_card, problem_of } from './problem.js';
import { shape_fields, shape_options } from './shapes.js';
import { kind_picker } from './kinds.js';

/** Lines of K=V as an object; throws a text that names the line. */
function parse_pairs(text, what) {
    const pairs = {};
    text.split('\n').forEach((line, i) => {
        if (!line.trim()) return;
        const at = line.indexOf('=');
        if (at < 1)
            throw new Error(
                `Line ${i + 1} of ${what} is not of the form name=value: ${line.trim()}`,
            );
        pairs[line.slice(0, at).trim()] = line.slice(at + 1).trim();
    });
    return pairs;
}

function area(name, label, placeholder) {
    return h(
        'div',
        { class: 'field' },
        h('label', { for: `f-${name}` }, label),
        h('textarea', {
            id: `f-${name}`,
            name,
            rows: 2,
            class: 'mono',
            placeholder,
            spellcheck: 'false',
        }),
    );
}

export function upload_card(signal) {
    let file = null;
    let sending = null;

    const input = h('input', {
        type: 'file',
        id: 'file',
        class: 'visually-hidden',
        tabindex: '-1',
        'aria-hidden': 'true',
        onchange: () => {
            if (input.files[0]) take(input.files[0]);
        },
    });
    const choose = h(
        'button',
        { type: 'button', class: 'button', id: 'choose', onclick: () => input.click() },
        icon('file'),
        h('span', {}, 'Choose a file'),
    );
    const chosen = h('p', { class: 'chosen', 'aria-live': 'polite' });
    const zone = h(
        'div',
        {
            class: 'zone',
            id: 'zone',
            // A click beside the button is meant for it; keyboards have the button itself.
            onclick: (e) => {
                if (e.target !== input && !e.target.closest('button')) input.click();
            },
            ondragover: () => zone.classList.add('over'),
            ondragleave: () => zone.classList.remove('over'),
            ondrop: () => zone.classList.remove('over'),
        },
        h('div', { class: 'zone-icon' }, icon('upload')),
        h('p', { class: 'zone-text' }, 'Drop a model here'),
        chosen,
        choose,
        input,
        h(
            'p',
            { class: 'muted small' },
            'ONNX, TorchScript or BPU Hub graph JSON, told by the content and not by the name',
        ),
    );

    const march_slot = h(
        'div',
        { class: 'march-slot' },
        h('p', { class: 'muted' }, 'Loading the marches …'),
    );
    const shapes = shape_fields([]);
    const options = h(
        'details',
        { class: 'options' },
        h('summary', {}, 'Options'),
        h(
            'div',
            { class: 'options-body' },
            shapes,
            h(
                'div',
                { class: 'option-grid' },
                h(
                    'div',
                    { class: 'field' },
                    h('label', { for: 'f-project' }, 'Project'),
                    h('input', {
                        id: 'f-project',
                        name: 'project',
                        autocomplete: 'on',
                        maxlength: 120,
                    }),
                ),
                area('labels', 'Labels, one a line', 'sha=4f2a9c1'),
                area('extra', 'More options, one a line', 'dtype.conv1=qint16'),
            ),
        ),
    );
    const submit = h(
        'button',
        { type: 'submit', class: 'button primary', id: 'submit', disabled: true },
        'Check the model',
    );
    const picker = kind_picker((kind) => {
        submit.textContent = kind.submit;
        title.textContent = kind.submit.replace('the model', 'a model');
    });
    const title = h('h2', { id: 'upload-title' }, 'Check a model');
    const trouble = h('div', {});
    const form = h(
        'form',
        { class: 'upload-form', onsubmit: send },
        zone,
        h('div', { class: 'upload-side' }, picker.element, march_slot, options, submit),
    );
    const sending_slot = h('div', { class: 'sending', hidden: true });
    const element = h(
        'section',
        { class: 'card upload', 'aria-labelledby': 'upload-title' },
        title,
        form,
        sending_slot,
        trouble,
    );

    marches_load(signal).then(
        (marches) => {
            march_slot.replaceChildren(march_picker(marches));
            ready();
        },
        (e) => {
            if (!signal.aborted)
                march_slot.replaceChildren(problem_card(problem_of(e), { heading: 'h3' }));
        },
    );
    signal.addEventListener('abort', () => sending?.abort());

    function ready() {
        submit.disabled = !file || !form.querySelector('[name=march]');
    }

    function take(f) {
        if (sending) return;
        file = f;
        trouble.replaceChildren();
        zone.classList.add('has-file');
        chosen.replaceChildren(h('strong', {}, f.name), ` ${bytes(f.size)}`);
        choose.querySelector('span').textContent = 'Choose another file';
        ready();
        if (!submit.disabled) submit.focus({ preventScroll: true });
    }

    async function send(e) {
        e.preventDefault();
        if (!file || sending) return;
        trouble.replaceChildren();
        const march = march_picked(form);
        const data = new FormData(form);
        let body;
        try {
            body = {
                kind: picker.kind().name,
                march,
                project: data.get('project').trim(),
                options: {
                    ...picker.options(),
                    ...parse_pairs(data.get('extra'), 'the options'),
                    ...shape_options(shapes),
                },
                labels: parse_pairs(data.get('labels'), 'the labels'),
            };
        } catch (error) {
            options.open = true;
            trouble.replaceChildren(
                problem_card(
                    {
                        title: 'An option cannot be read',
                        detail: error.message,
                        code: 'bad_option',
                    },
                    { heading: 'h3' },
                ),
            );
            return;
        }

        sending = new AbortController();
        const bar = h('progress', { max: 1, value: 0, 'aria-label': 'Upload' });
        const text = h('p', { class: 'sending-text' }, 'Starting …');
        const sending_name = h('strong', {}, file.name);
        sending_slot.replaceChildren(
            h('p', { class: 'sending-name' }, sending_name),
            bar,
            text,
            h(
                'button',
                { type: 'button', class: 'button', onclick: () => sending.abort() },
                'Cancel the upload',
            ),
        );
        form.hidden = true;
        sending_slot.hidden = false;
        announce(`Uploading ${file.name}`);
        const upload = (how, f) => {
            const started = performance.now();
            sending_name.textContent = f.name;
            return how(f, {
                project: body.project,
                signal: sending.signal,
                onprogress: (loaded, total) => {
                    bar.value = total ? loaded / total : 1;
                    const speed = (loaded / Math.max(1, performance.now() - started)) * 1000;
                    text.textContent =
                        loaded < total
                            ? `${bytes(loaded)} of ${bytes(total)}, ${bytes(speed)}/s`
                            : 'Received; the server is storing it …';
                },
            });
        };
        try {
            const model = await upload(api.model_upload, file);
            for (const f of picker.files()) {
                const data = await upload(api.data_upload, f.file);
                body.options[f.option] = f.array ? `${data.id}:${f.array}` : data.id;
            }
            const job = await api.job_create({ model: model.id, ...body }, sending.signal);
            location.hash = `#/jobs/${encodeURIComponent(job.id)}`;
        } catch (error) {
            if (signal.aborted) return;
            form.hidden = false;
            sending_slot.hidden = true;
            if (error.name === 'AbortError') {
                announce('The upload was cancelled');
                submit.focus();
            } else {
                trouble.replaceChildren(problem_card(problem_of(error), { heading: 'h3' }));
            }
        } finally {
            sending = null;
        }
    }

    return { element, take };
}
