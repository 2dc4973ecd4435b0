// Signs an approval (W3C Web Authentication Level 3): asks our server for the statement of exactly this vote, the browser for
// a signature over its hash, and takes the signature back. Everything else on the page works without this file.
"use strict";
(() => {
	const button = document.getElementById("sign");
	if (!button) { return; }
	const problem = document.getElementById("problem");
	const say = (text) => { problem.textContent = text; problem.hidden = false; problem.focus(); };
	const usable = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON;

	const post = async (path, body) => {
		const answer = await fetch(path, {
			method: "POST", credentials: "same-origin", redirect: "error",
			headers: { "Content-Type": "application/json", "Sallyport-Offer": document.querySelector("#ballot input[name=offer]").value }, body: JSON.stringify(body),
		});
		let json = {};
		try { json = await answer.json(); } catch { /* an answer that is not ours: told below */ }
		if (answer.ok) { return json; }
		if (json.next) { location.assign(json.next); throw new Error("Confirm first that it is you."); }
		throw new Error(json.error || "The server did not answer as expected. Try again.");
	};

	const told = (error) => {
		if (error.name === "NotAllowedError") { return "The passkey was not used: it was cancelled, took too long, or is not your approver's key. Try again."; }
		if (error.name === "SecurityError") { return "This address cannot use the passkeys of this server. Open the server's own address."; }
		return error.message;
	};

	button.hidden = false;
	if (!usable) { button.disabled = true; say("This browser is too old for passkeys. Use a newer one."); return; }
	button.addEventListener("click", async () => {
		problem.hidden = true;
		button.disabled = true;
		const path = "/approvals/" + encodeURIComponent(button.dataset.request);
		const ballot = { yes: true, reason: document.getElementById("reason").value.trim(), hash: document.querySelector("#ballot input[name=hash]").value };
		try {
			const statement = await post(path + "/statement", ballot);
			const credential = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(statement.options.publicKey) });
			const done = await post(path + "/sign", { ...ballot, groups: statement.groups, at: statement.at, response: credential.toJSON() });
			location.assign(done.next);
		} catch (error) {
			say(told(error));
			button.disabled = false;
		}
	});
})();
