// shapes: fields for the shapes of inputs that a file leaves open, and the options they become.

import { h, icon } from './dom.js';

const SHAPE = '\\s*\\d+(\\s*[x×,]\\s*\\d+)*\\s*(:\\s*\\w+\\s*)?';
let serial = 0;

function shape_row(name, value, fixed, example = '1x3x224x224') {
    const id = `shape-${++serial}`;
    const row = h(
        'div',
        { class: 'shape-row' },
        fixed
            ? h('input', { type: 'hidden', class: 'shape-name', value: name })
            : h(
                  'div',
                  { class: 'field' },
                  h('label', { for: `${id}-n` }, 'Input'),
                  h('input', {
                      id: `${id}-n`,
                      class: 'shape-name mono',
                      value: name,
                      placeholder: 'name or 0',
                      autocomplete: 'off',
                      spellcheck: 'false',
                  }),
              ),
        h(
            'div',
            { class: 'field grow' },
            h('label', { for: id }, fixed ? ['Shape of ', h('code', {}, name)] : 'Shape'),
            h('input', {
                id,
                class: 'shape-value mono',
                value,
                placeholder: example,
                pattern: SHAPE,
                required: fixed,
                autocomplete: 'off',
                spellcheck: 'false',
                title: 'Numbers joined by x, such as 1x3x224x224; a dtype may follow, as in 1x3x224x224:qint8',
            }),
        ),
        fixed
            ? null
            : h(
                  'button',
                  {
                      type: 'button',
                      class: 'icon-button',
                      'aria-label': 'Remove this input',
                      title: 'Remove',
                      onclick: () => row.remove(),
                  },
                  icon('close'),
              ),
    );
    return row;
}

/** names: inputs that must get a shape; options: of an earlier try; hint: may hold examples, as input.NAME=1x3x8x8. */
export function shape_fields(names, options = {}, hint = '') {
    const rows = h('div', { class: 'shape-rows' });
    for (const name of names) {
        const example = hint.split(`input.${name}=`)[1]?.match(/^\d+(x\d+)*/)?.[0];
        rows.append(shape_row(name, options[`input.${name}`] ?? '', true, example));
    }
    for (const [key, value] of Object.entries(options)) {
        const name = /^input\.(.+)$/.exec(key)?.[1];
        if (name !== undefined && !names.includes(name)) rows.append(shape_row(name, value, false));
    }
    return h(
        'fieldset',
        { class: 'shapes' },
        h('legend', {}, 'Input shapes'),
        rows,
        h(
            'button',
            {
                type: 'button',
                class: 'button quiet',
                onclick: () => {
                    const row = shape_row('', '', false);
                    rows.append(row);
                    row.querySelector('.shape-name').focus();
                },
            },
            icon('plus'),
            names.length ? 'Another input' : 'Give the shape of an input',
        ),
    );
}

export function shape_options(root) {
    const options = {};
    for (const row of root.querySelectorAll('.shape-row')) {
        const name = row.querySelector('.shape-name').value.trim();
        const value = row
            .querySelector('.shape-value')
            .value.replace(/\s+/g, '')
            .replace(/[×,]/g, 'x');
        if (value) options[`input.${name || '0'}`] = value;
    }
    return options;
}

/** The inputs that a shape_needed problem is about: the hint shows the option to give; the place names the input. */
export function inputs_of_problem(doc) {
    if (Array.isArray(doc.inputs)) return doc.inputs.map((i) => i.name ?? i);
    const names = new Set();
    for (const m of (doc.hint ?? '').matchAll(/\binput\.([^\s=]+)=/g))
        if (m[1] !== 'NAME') names.add(m[1]);
    if (names.size === 0) {
        const text = `${typeof doc.where === 'string' ? doc.where : ''} ${doc.detail ?? ''}`;
        const quoted = /input\s+["'‘“«]([^"'’”»]+)/.exec(text);
        if (quoted) names.add(quoted[1]);
    }
    return [...names];
}
