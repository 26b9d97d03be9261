// session: who uses the dashboard. A server without tokens is open and shows nothing of this. With
// tokens, the page to sign in takes one and gets a cookie for it that scripts cannot read.

import { h, announce } from './dom.js';
import * as api from './api.js';
import { problem_card, problem_of } from './problem.js';

const slot = document.getElementById('account');
let who = { access: 'open', signed_in: false, anonymous_read: false };

/** Asks the server who we are; what cannot be asked is met by the views themselves. */
export async function session_load() {
    try {
        who = await api.session();
    } catch {
        who = { access: 'open', signed_in: false, anonymous_read: false };
    }
    account_show();
}

/** True if nothing can be shown before somebody signs in. */
export const session_needed = () =>
    who.access === 'tokens' && !who.signed_in && !who.anonymous_read;

/** Goes to the page to sign in, and from there back to where we are. */
export function session_ask() {
    if (location.hash.startsWith('#/signin')) return;
    const here = location.hash.slice(1);
    location.hash = `#/signin${here ? `?next=${encodeURIComponent(here)}` : ''}`;
}

function account_show() {
    if (who.access !== 'tokens') return slot.replaceChildren();
    if (!who.signed_in)
        return slot.replaceChildren(h('a', { href: '#/signin', id: 'signin' }, 'Sign in'));
    const role = who.project ? `${who.role}, project ${who.project}` : who.role;
    slot.replaceChildren(
        h('span', { class: 'account-name', title: role }, who.name || role),
        h(
            'button',
            { type: 'button', class: 'button quiet', id: 'signout', onclick: sign_out },
            'Sign out',
        ),
    );
}

async function sign_out() {
    try {
        await api.sign_out();
    } catch {
        /* the session is over already, or the server is away: asked below */
    }
    await session_load();
    announce('Signed out');
    location.hash = '#/signin';
}

/** Only a place of this page: what follows the hash, never another address. */
function place_after(params) {
    const next = params.get('next') ?? '';
    return next.startsWith('/') && !next.startsWith('//') && !next.startsWith('/signin')
        ? next
        : '/';
}

export function signin_view(root, params, signal) {
    document.title = 'Sign in – BPU Hub';
    const token = h('input', {
        type: 'password',
        id: 'token',
        name: 'token',
        autocomplete: 'current-password',
        spellcheck: 'false',
        required: true,
        class: 'mono',
    });
    const submit = h('button', { type: 'submit', class: 'button primary' }, 'Sign in');
    const trouble = h('div', {});
    async function send(e) {
        e.preventDefault();
        trouble.replaceChildren();
        submit.disabled = true;
        try {
            await api.sign_in(token.value.trim(), signal);
            token.value = '';
            await session_load();
            if (!signal.aborted) location.hash = `#${place_after(params)}`;
        } catch (error) {
            if (signal.aborted) return;
            trouble.replaceChildren(problem_card(problem_of(error)));
            token.focus();
        } finally {
            submit.disabled = false;
        }
    }
    root.append(
        h(
            'section',
            { class: 'card signin', 'aria-labelledby': 'signin-title' },
            h('h1', { id: 'signin-title', tabindex: '-1' }, 'Sign in'),
            h(
                'p',
                { class: 'muted' },
                'This server asks for a token. Whoever runs it makes one with ',
                h('code', {}, 'bpuhub token create'),
                '.',
            ),
            h(
                'form',
                { class: 'signin-form', onsubmit: send },
                h('div', { class: 'field' }, h('label', { for: 'token' }, 'Token'), token),
                submit,
            ),
            trouble,
        ),
    );
    token.focus();
}
