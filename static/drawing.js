// drawing: the graph's SVG with zoom, pan and selection.
//
// The SVG is laid out once at its natural size; moving and zooming only change one CSS transform,
// so that a drawing of thousands of nodes moves as lightly as one of ten.

import { h, icon, iconButton, announce } from './dom.js';
import { sanitised_svg } from './sanitise.js';

const MIN = 0.02,
    MAX = 6,
    STEP = 1.25;

export function drawing_panel({ onselect, signal }) {
    let svg = null,
        sheet = null,
        width = 0,
        height = 0;
    let x = 0,
        y = 0,
        k = 1;
    let nodes = []; // of the report, in the order of node-<index>
    let problems = []; // indices of illegal nodes, in graph order
    let selected = -1;
    let frame = 0,
        settle = 0;

    const canvas = h('div', {
        class: 'canvas',
        tabindex: '0',
        role: 'application',
        id: 'canvas',
        'aria-label':
            'Drawing of the model. Arrow keys move, plus and minus zoom, 0 fits, N and P go to the next and previous illegal node.',
    });
    const info = h('div', { class: 'node-info', hidden: true });
    const zoom_text = h('span', { class: 'zoom-text mono', 'aria-live': 'off' }, '100%');
    const prev = iconButton('prev', 'Previous illegal node (P)', () => step_problem(-1));
    const next = iconButton('next', 'Next illegal node (N)', () => step_problem(1));
    const problem_text = h('span', { class: 'muted small' });
    const toolbar = h(
        'div',
        { class: 'toolbar', role: 'toolbar', 'aria-label': 'Drawing' },
        h(
            'div',
            { class: 'tool-group' },
            iconButton('minus', 'Zoom out (−)', () => zoom(1 / STEP)),
            zoom_text,
            iconButton('plus', 'Zoom in (+)', () => zoom(STEP)),
            iconButton('fit', 'Fit the whole drawing (0)', () => fit()),
        ),
        h('div', { class: 'tool-group problems' }, problem_text, prev, next),
        h(
            'div',
            { class: 'tool-group' },
            iconButton('expand', 'Full screen', () => {
                if (document.fullscreenElement) document.exitFullscreen();
                else element.requestFullscreen?.();
            }),
        ),
    );
    const element = h(
        'section',
        { class: 'card drawing', 'aria-label': 'Drawing', id: 'drawing' },
        toolbar,
        h('div', { class: 'canvas-wrap' }, canvas, info),
    );

    // ── view ──
    function paint() {
        if (!svg) return;
        svg.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
        canvas.dataset.scale = k.toFixed(4);
        canvas.dataset.x = x.toFixed(1);
        canvas.dataset.y = y.toFixed(1);
        zoom_text.textContent = `${Math.round(k * 100)}%`;
    }

    /** Paints in the next frame. While it moves, the drawing is a layer of its own; when it rests, it is drawn sharply again. */
    function moved() {
        // Some of the drawing always stays in sight.
        const { clientWidth: w, clientHeight: hh } = canvas;
        x = Math.min(w - 40, Math.max(40 - width * k, x));
        y = Math.min(hh - 40, Math.max(40 - height * k, y));
        if (!frame)
            frame = requestAnimationFrame(() => {
                frame = 0;
                paint();
            });
        canvas.classList.add('moving');
        clearTimeout(settle);
        settle = setTimeout(() => canvas.classList.remove('moving'), 160);
    }

    function zoom(factor, cx = canvas.clientWidth / 2, cy = canvas.clientHeight / 2) {
        const to = Math.min(MAX, Math.max(MIN, k * factor));
        x = cx - (cx - x) * (to / k);
        y = cy - (cy - y) * (to / k);
        k = to;
        moved();
    }

    function fit() {
        if (!svg) return;
        k = Math.max(
            MIN,
            Math.min((canvas.clientWidth - 24) / width, (canvas.clientHeight - 24) / height, 1.5),
        );
        x = (canvas.clientWidth - width * k) / 2;
        y = (canvas.clientHeight - height * k) / 2;
        moved();
    }

    /** The first look: readable, from the top; the whole drawing where that is readable. */
    function first_look() {
        const whole = Math.min(
            (canvas.clientWidth - 24) / width,
            (canvas.clientHeight - 24) / height,
        );
        if (whole >= 0.6) return fit();
        k = Math.max(0.35, Math.min(1, (canvas.clientWidth - 24) / width));
        x = width * k <= canvas.clientWidth ? (canvas.clientWidth - width * k) / 2 : 12;
        y = 12;
        moved();
    }

    function centre(index) {
        const g = group(index);
        if (!g) return;
        if (k < 0.7) k = 0.9;
        paint();
        const box = g.getBoundingClientRect(),
            frame_box = canvas.getBoundingClientRect();
        x += frame_box.left + frame_box.width / 2 - (box.left + box.width / 2);
        // In the middle of what the note about the node leaves free.
        y +=
            frame_box.top +
            (frame_box.height - (info.hidden ? 0 : info.offsetHeight)) / 2 -
            (box.top + box.height / 2);
        moved();
        paint();
    }

    // ── nodes ──
    /** The box of a node. A folded node has no box of its own: its place is inside that of the node it went into. */
    function group(index) {
        const g = svg?.querySelector(`#node-${index}`) ?? null;
        return g && !g.firstElementChild ? g.parentElement.closest('.n, [data-node]') : g;
    }

    function index_of(target) {
        const link = /^#node-(\d+)$/.exec(target.closest?.('a')?.getAttribute('href') ?? '');
        if (link) return Number(link[1]);
        const g = target.closest?.('[data-node], [id^="node-"]');
        if (!g || !svg?.contains(g)) return -1;
        const by_id = /^node-(\d+)$/.exec(g.id);
        return by_id ? Number(by_id[1]) : nodes.findIndex((n) => n.name === g.dataset.node);
    }

    function select(index, { centred = false, told = true } = {}) {
        group(selected)?.classList.remove('is-selected');
        selected = index;
        const g = group(index);
        g?.classList.add('is-selected');
        if (told) onselect(index);
        update_problems();
        if (centred) centre(index);
        return g !== null;
    }

    function step_problem(by) {
        if (problems.length === 0) return;
        const later = problems.findIndex((i) => i > selected);
        let at = problems.indexOf(selected);
        if (at >= 0) at = (at + by + problems.length) % problems.length;
        else
            at =
                by > 0
                    ? Math.max(0, later)
                    : (later < 0 ? problems.length : later || problems.length) - 1;
        select(problems[at], { centred: true });
        announce(`${nodes[problems[at]].name}, illegal node ${at + 1} of ${problems.length}`);
    }

    function update_problems() {
        const at = problems.indexOf(selected);
        prev.hidden = next.hidden = problem_text.hidden = problems.length === 0;
        problem_text.textContent =
            at >= 0 ? `Illegal ${at + 1}/${problems.length}` : `${problems.length} illegal`;
    }

    // ── input ──
    canvas.addEventListener(
        'wheel',
        (e) => {
            e.preventDefault();
            const r = canvas.getBoundingClientRect();
            const delta = e.deltaMode === 1 ? e.deltaY * 18 : e.deltaY;
            zoom(
                Math.exp(-Math.max(-240, Math.min(240, delta)) * (e.ctrlKey ? 0.01 : 0.0016)),
                e.clientX - r.left,
                e.clientY - r.top,
            );
        },
        { passive: false },
    );

    const pointers = new Map();
    let travelled = 0;
    canvas.addEventListener('pointerdown', (e) => {
        if (e.button !== 0) return;
        if (pointers.size === 0) travelled = 0;
        pointers.set(e.pointerId, { x: e.clientX, y: e.clientY, target: e.target });
    });
    canvas.addEventListener('pointermove', (e) => {
        const was = pointers.get(e.pointerId);
        if (!was) return;
        if (pointers.size === 2) {
            const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
            const r = canvas.getBoundingClientRect();
            const before = Math.hypot(was.x - other.x, was.y - other.y) || 1;
            const after = Math.hypot(e.clientX - other.x, e.clientY - other.y);
            zoom(
                after / before,
                (e.clientX + other.x) / 2 - r.left,
                (e.clientY + other.y) / 2 - r.top,
            );
        }
        const share = pointers.size === 2 ? 0.5 : 1;
        x += (e.clientX - was.x) * share;
        y += (e.clientY - was.y) * share;
        travelled += Math.abs(e.clientX - was.x) + Math.abs(e.clientY - was.y);
        was.x = e.clientX;
        was.y = e.clientY;
        if (travelled > 5) {
            // Captured only now: a captured pointer would take the click away from the node.
            if (!canvas.hasPointerCapture(e.pointerId)) canvas.setPointerCapture(e.pointerId);
            moved();
        }
    });
    const release = (e) => pointers.delete(e.pointerId);
    canvas.addEventListener('pointerup', release);
    canvas.addEventListener('pointercancel', release);
    canvas.addEventListener('pointerleave', (e) => {
        if (!canvas.hasPointerCapture(e.pointerId)) release(e);
    });
    canvas.addEventListener('click', (e) => {
        if (travelled > 5) return;
        e.preventDefault();
        select(index_of(e.target), { centred: e.target.closest('a') !== null });
    });
    canvas.addEventListener('keydown', (e) => {
        if (e.ctrlKey || e.metaKey || e.altKey) return;
        const far = e.shiftKey ? 240 : 60;
        const act = {
            '+': () => zoom(STEP),
            '=': () => zoom(STEP),
            '-': () => zoom(1 / STEP),
            _: () => zoom(1 / STEP),
            0: fit,
            ArrowLeft: () => {
                x += far;
                moved();
            },
            ArrowRight: () => {
                x -= far;
                moved();
            },
            ArrowUp: () => {
                y += far;
                moved();
            },
            ArrowDown: () => {
                y -= far;
                moved();
            },
            n: () => step_problem(1),
            p: () => step_problem(-1),
            Escape: () => select(-1),
        }[e.key.length === 1 ? e.key.toLowerCase() : e.key];
        if (!act) return;
        e.preventDefault();
        act();
    });
    document.addEventListener('fullscreenchange', () => {
        if (svg && element.isConnected) moved();
    });

    function forget() {
        document.adoptedStyleSheets = document.adoptedStyleSheets.filter((x) => x !== sheet);
    }
    signal.addEventListener('abort', forget);

    return {
        element,
        info,
        select,
        /** Whether the chosen node can be seen: not below the screen and not under the head of the page. */
        in_sight() {
            const box = group(selected)?.getBoundingClientRect();
            return !box || (box.top > 64 && box.bottom < innerHeight);
        },
        message(...content) {
            canvas.replaceChildren(h('div', { class: 'canvas-message' }, content));
            toolbar.hidden = true;
        },
        /** text: the SVG; nodes: of the report, or [] */
        load(text, report_nodes) {
            const { svg: made, sheet: rules } = sanitised_svg(text);
            forget();
            sheet = rules;
            document.adoptedStyleSheets.push(sheet);
            const box = (made.getAttribute('viewBox') ?? '')
                .trim()
                .split(/[\s,]+/)
                .map(Number);
            [width, height] =
                box.length === 4 && box[2] > 0 && box[3] > 0
                    ? [box[2], box[3]]
                    : [
                          parseFloat(made.getAttribute('width')) || 600,
                          parseFloat(made.getAttribute('height')) || 400,
                      ];
            made.setAttribute('width', width);
            made.setAttribute('height', height);
            made.removeAttribute('preserveAspectRatio');
            svg = made;
            nodes = report_nodes;
            problems = nodes.flatMap((n, i) => (n.verdict === 'illegal' ? [i] : []));
            canvas.replaceChildren(svg);
            toolbar.hidden = false;
            update_problems();
            first_look();
            paint();
        },
    };
}
