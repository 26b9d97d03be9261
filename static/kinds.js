// kinds: what is to be done with a model, and what that takes: calibration data, a test set, labels, a level.

import { h, bytes } from './dom.js';

/** name: of the option that names the file. */
const CALIBRATION = {
    name: 'calibration',
    label: 'Calibration data',
    hint: 'A few dozen typical inputs; not needed for a network that has scales.',
};
/** Of the compiler; measuring compiles first. */
const LEVELS = [
    {
        name: 'opt',
        label: 'Level',
        values: [
            ['', 'O2, the usual'],
            ['0', 'O0, layer by layer'],
            ['1', 'O1, maps stay on chip'],
            ['3', 'O3, searched'],
            ['fast', 'fast, least time'],
            ['ddr', 'ddr, least traffic'],
        ],
    },
    { name: 'cores', label: 'Cores', values: [['', '1'], ['2', '2']] },
];
const KINDS = [
    { name: 'check', title: 'Check', submit: 'Check the model', files: [] },
    { name: 'quantize', title: 'Quantize', submit: 'Quantize the model', files: [CALIBRATION] },
    {
        name: 'evaluate',
        title: 'Evaluate',
        submit: 'Evaluate the model',
        files: [
            { name: 'data', label: 'Test data', hint: 'The inputs to run on.', required: true },
            { name: 'labels', label: 'Labels', hint: 'The numbers of the right classes.' },
            CALIBRATION,
        ],
    },
    {
        name: 'compile',
        title: 'Compile',
        submit: 'Compile the model',
        files: [{ ...CALIBRATION, hint: 'Without, a float network gets placeholder scales: real speed, no results.' }],
        choices: LEVELS,
    },
    {
        name: 'perf',
        title: 'Measure',
        submit: 'Measure the model',
        files: [],
        choices: LEVELS,
    },
];

function choice_field(c) {
    return h(
        'div',
        { class: 'field' },
        h('label', { for: `f-${c.name}` }, c.label),
        h(
            'select',
            { id: `f-${c.name}`, class: 'choice', 'data-option': c.name },
            c.values.map(([value, text]) => h('option', { value }, text)),
        ),
    );
}

function file_field(f) {
    const id = `f-${f.name}`;
    const chosen = h('span', { class: 'muted small' }, f.hint);
    const input = h('input', {
        type: 'file',
        id,
        class: 'data-file',
        'data-option': f.name,
        accept: '.npz,.npy,.idx,application/octet-stream,*/*',
        required: f.required,
        onchange: () => {
            chosen.textContent = input.files[0] ? bytes(input.files[0].size) : f.hint;
        },
    });
    return h(
        'div',
        { class: 'data-row' },
        h(
            'div',
            { class: 'field grow' },
            h('label', { for: id }, f.label, f.required ? '' : ' (optional)'),
            input,
            chosen,
        ),
        h(
            'div',
            { class: 'field' },
            h('label', { for: `${id}-array` }, 'Array'),
            h('input', {
                id: `${id}-array`,
                class: 'data-array mono',
                placeholder: 'of an .npz',
                autocomplete: 'off',
                spellcheck: 'false',
            }),
        ),
    );
}

/** onchange(kind) is told of each choice. */
export function kind_picker(onchange) {
    const files = h('div', { class: 'data-rows' });
    let kind = KINDS[0];
    const choose = (name) => {
        kind = KINDS.find((k) => k.name === name);
        const choices = (kind.choices ?? []).map(choice_field);
        files.replaceChildren(
            ...(choices.length ? [h('div', { class: 'data-row' }, choices)] : []),
            ...kind.files.map(file_field),
        );
        onchange(kind);
    };
    const element = h(
        'div',
        { class: 'kinds' },
        h(
            'fieldset',
            {},
            h('legend', {}, 'What to do'),
            h(
                'div',
                { class: 'kind-row' },
                KINDS.map((k) =>
                    h(
                        'label',
                        { class: 'kind' },
                        h('input', {
                            type: 'radio',
                            name: 'kind',
                            value: k.name,
                            checked: k === kind,
                            onchange: () => choose(k.name),
                        }),
                        k.title,
                    ),
                ),
            ),
        ),
        files,
    );
    return {
        element,
        kind: () => kind,
        /** {option: value} of what was chosen beside files. */
        options: () =>
            Object.fromEntries(
                [...files.querySelectorAll('.choice')]
                    .filter((c) => c.value)
                    .map((c) => [c.dataset.option, c.value]),
            ),
        /** [{option, array, file}] of the fields that hold one. */
        files: () =>
            [...files.querySelectorAll('.data-row:has(.data-file)')]
                .map((row) => ({
                    option: row.querySelector('.data-file').dataset.option,
                    file: row.querySelector('.data-file').files[0],
                    array: row.querySelector('.data-array').value.trim(),
                }))
                .filter((f) => f.file),
    };
}
