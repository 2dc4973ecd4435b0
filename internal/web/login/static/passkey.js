// Passkey ceremonies (W3C Web Authentication Level 3). A button with data-passkey="signin|second|stepup|register" asks our
// server for options, the browser for an answer, and takes the answer back. Everything else works without this file.
"use strict";
(() => {
	const problem = document.getElementById("passkey-problem");
	const say = (text) => { problem.textContent = text; problem.hidden = false; };
	const usable = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON && PublicKeyCredential.parseCreationOptionsFromJSON;

	const post = async (path, body) => {
		const answer = await fetch(path, {
			method: "POST", credentials: "same-origin", redirect: "error",
			headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
		});
		let json = {};
		try { json = await answer.json(); } catch { /* an answer that is not ours: told below */ }
		if (answer.ok) { return json; }
		if (json.next) { location.assign(json.next); throw new Error("confirm first that it is you"); }
		throw new Error(json.error || "The server did not answer as expected. Try again.");
	};

	const prove = async (kind, options) => {
		if (kind === "register") {
			return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey) });
		}
		return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey) });
	};

	const told = (error) => {
		if (error.name === "NotAllowedError") { return "The passkey was not used: it was cancelled, took too long, or did not verify you. Try again."; }
		if (error.name === "InvalidStateError") { return "This authenticator holds a passkey of your account already."; }
		if (error.name === "SecurityError") { return "This address cannot use the passkeys of this server. Open the server's own address."; }
		return error.message;
	};

	for (const button of document.querySelectorAll("button[data-passkey]")) {
		button.hidden = false;
		if (!usable) { button.disabled = true; say("This browser is too old for passkeys. Use another way, or a newer browser."); continue; }
		button.addEventListener("click", async () => {
			problem.hidden = true;
			button.disabled = true;
			const kind = button.dataset.passkey;
			const label = document.getElementById("label");
			try {
				const credential = await prove(kind, await post("/passkey/" + kind + "/begin", {}));
				const body = { response: credential.toJSON() };
				if (button.dataset.return) { body.return = button.dataset.return; }
				if (kind === "register" && label) { body.label = label.value; }
				location.assign((await post("/passkey/" + kind + "/finish", body)).next);
			} catch (error) {
				say(told(error));
				button.disabled = false;
			}
		});
	}
})();
